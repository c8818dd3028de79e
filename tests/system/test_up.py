from __future__ import annotations

import json
import os
import re
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mesh.config import SERVICE_NAMES
from mesh.folder_lock import LOCK_NAME
from mesh.supervised_settings import METRICS_PORT_DISTANCE
from tests.support.local_mesh import all_gone, family_of, wait_for
from tests.support.nats import nats_served

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system
SERVING = dict.fromkeys(SERVICE_NAMES, "SERVING")


def stop(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Send a signal and return the exit code."""
    process.send_signal(number)
    return process.wait(60)


def statuses(mesh: LocalMesh) -> dict[str, str]:
    """Return the status of each service, as `solo60 health --json` tells it."""
    report = json.loads(mesh.solo60("health", "--json").stdout)
    return {name: entry["status"] for name, entry in report.items()}


def gym_names(mesh: LocalMesh) -> list[str]:
    """Return the names of all gyms."""
    answer = json.loads(mesh.solo60("call", "gym.ListGyms", "--json").stdout)
    return [gym["name"] for gym in answer["gyms"]]


def test_a_mesh_starts_books_stops_and_remembers(stopped_mesh: LocalMesh) -> None:
    """J1, S5: all seven are SERVING, the demo ends well twice, Ctrl-C leaves no process and no lock, data stays."""
    process = stopped_mesh.up("--demo")
    family = family_of(process)
    assert statuses(stopped_mesh) == SERVING
    assert len(family) > len(SERVICE_NAMES) + 1

    assert stop(process, signal.SIGINT) == 0
    assert all_gone(family)
    assert not (stopped_mesh.data_dir / LOCK_NAME).exists()

    again = stopped_mesh.up()
    assert gym_names(stopped_mesh) == ["Field Street Gym"]
    demo = stopped_mesh.solo60("demo", "booking", "--json")
    assert demo.returncode == 0, demo.stderr
    assert stop(again, signal.SIGINT) == 0


def test_a_killed_supervisor_leaves_no_process_and_can_be_started_again(stopped_mesh: LocalMesh) -> None:
    """J6: whatever ends the supervisor ends what it started, and the data folder is as good as before."""
    process = stopped_mesh.up()
    family = family_of(process)

    process.kill()
    process.wait()

    wait_for(lambda: all_gone(family))
    with metrics_port_of_gym_taken(stopped_mesh):
        stopped_mesh.up()
    assert statuses(stopped_mesh) == SERVING
    # Whoever scrapes that port would take another's metrics for the service's.
    (told,) = [line for line in stopped_mesh.output.splitlines() if "metrics: " in line]
    assert told.startswith(
        f"gym shows no metrics: its port plus {METRICS_PORT_DISTANCE} is in use by process {os.getpid()} ("
    )


@contextmanager
def metrics_port_of_gym_taken(mesh: LocalMesh) -> Iterator[None]:
    """Listen where the metrics of the gym service would be shown."""
    port = int(mesh.settings.gym_service_url.rpartition(":")[2]) + METRICS_PORT_DISTANCE
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "loading"),
        pytest.param(signal.SIGINT, "postgresql: SERVING", marks=pytest.mark.soak),
        pytest.param(signal.SIGINT, "gym: starting", marks=pytest.mark.soak),
        (signal.SIGTERM, "gym: migrating"),
        pytest.param(signal.SIGHUP, "gym: starting", marks=pytest.mark.soak),
    ],
)
def test_a_start_that_is_interrupted_leaves_nothing(
    stopped_mesh: LocalMesh, number: signal.Signals, moment: str
) -> None:
    """Ctrl-C, SIGTERM and a closed terminal stop what has started so far, at any moment."""
    process = stopped_mesh.start()
    wait_for(lambda: moment in stopped_mesh.output)
    family = family_of(process)

    assert stop(process, number) == 1
    assert all_gone(family)
    assert not (stopped_mesh.data_dir / LOCK_NAME).exists()


def test_a_second_mesh_in_the_same_folder_is_refused(local_mesh: LocalMesh) -> None:
    """Two meshes never share a data folder; the sentence names the setting and the process."""
    second = local_mesh.solo60("up")

    assert second.returncode == 2
    assert second.stderr.startswith("DATA_DIR: process ")
    assert second.stderr.count("\n") == 1
    assert statuses(local_mesh) == SERVING


@pytest.mark.parametrize(("field", "setting"), [("gym_service_url", "GYM_SERVICE_URL"), ("smtp_url", "SMTP_URL")])
def test_a_port_in_use_is_refused_with_the_name_of_its_setting(
    stopped_mesh: LocalMesh, field: str, setting: str
) -> None:
    """One clear sentence, and nothing is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        value = f"smtp://{address}" if field == "smtp_url" else address
        refused = stopped_mesh.solo60("up", **{field: value})

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{setting}: {address} is in use by process {os.getpid()} (")
    assert refused.stderr.endswith("); stop it, or move all ports with PORT_OFFSET.\n")


@pytest.mark.parametrize("field", ["service_api_key", "listen_address"])
def test_a_setting_of_one_process_is_refused_for_all(stopped_mesh: LocalMesh, field: str) -> None:
    """S1: the services of a mesh never share a key, nor an address."""
    refused = stopped_mesh.solo60("up", **{field: "127.0.0.1:1"})

    assert refused.returncode == 2
    assert refused.stderr == f"{field.upper()}: unset it, each service of a mesh has its own.\n"


async def test_a_service_that_cannot_start_is_quoted_and_leaves_nothing(
    stopped_mesh: LocalMesh, tmp_path: Path
) -> None:
    """The sentence is the service's own, and says where its log is; the others, PostgreSQL and the lock are gone."""
    async with nats_served(tmp_path / "nats", "--user", "ada", "--pass", "right") as nats:
        process = stopped_mesh.start(nats_url=nats.url.replace("//", "//ada:wrong@"))
        wait_for(lambda: "postgresql: SERVING" in stopped_mesh.output)
        family = family_of(process)

        assert process.wait(60) == 1
    sentence = stopped_mesh.output.splitlines()[-1]
    found = re.match(r"(\w+) did not start: NATS_URL: the server refuses this user and password", sentence)
    assert found is not None, sentence
    assert str(stopped_mesh.data_dir / "logs" / f"{found[1]}.jsonl") in sentence
    assert all_gone(family)
    assert not (stopped_mesh.data_dir / LOCK_NAME).exists()
    stopped_mesh.up()
