from __future__ import annotations

import json
import signal
import subprocess

import psutil
import pytest

from tests.support.local_mesh import SOLO60, LocalMesh, process_of, stopped_mesh, wait_for

__all__ = ["stopped_mesh"]
pytestmark = pytest.mark.system


@pytest.mark.requirement("J6")
def test_the_demo_survives_its_outages_and_leaves_everything_running(stopped_mesh: LocalMesh) -> None:
    """Mail comes later, an interrupted booking costs nothing, a slow one is charged once, and all services run."""
    stopped_mesh.up()

    told = stopped_mesh.solo60("demo", "outage", "--json")

    assert told.returncode == 0, told.stderr
    steps = {step["name"]: step for step in json.loads(told.stdout)["steps"]}
    assert list(steps) == ["booked without mail", "mailed later", "payment killed", "booked again", "payment slow"]
    assert steps["booked without mail"]["mails"] == []
    assert len(steps["mailed later"]["mails"]) == 2
    assert steps["booked again"]["facts"]["credits_after_outage"] == steps["booked again"]["facts"]["credits_before"]
    assert steps["payment slow"]["facts"]["payments"] == 1
    assert stopped_mesh.is_serving()


@pytest.mark.soak
def test_an_interrupted_demo_leaves_no_service_suspended(stopped_mesh: LocalMesh) -> None:
    """After Ctrl-C in the middle of an outage, the suspended service goes on at once."""
    stopped_mesh.up()
    demo = subprocess.Popen([SOLO60, "demo", "outage"], env=stopped_mesh._environment({}), stdout=subprocess.DEVNULL)
    wait_for(lambda: process_of(stopped_mesh, "communication").status() == psutil.STATUS_STOPPED)

    demo.send_signal(signal.SIGINT)
    demo.wait()

    assert process_of(stopped_mesh, "communication").status() != psutil.STATUS_STOPPED
    wait_for(stopped_mesh.is_serving)
