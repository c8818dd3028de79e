from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from mesh.config import SERVICE_NAMES
from mesh.folder_lock import LOCK_NAME
from tests.support.local_mesh import all_gone, family_of, wait_for
from tests.support.nats import nats_served

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system
SERVING = dict.fromkeys(SERVICE_NAMES, "SERVING")


def stop(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Send a signal and return the exit code."""
    process.send_signal(number)
    return process.wait(60)


def statuses(mesh: LocalMesh) -> dict[str, str]:
    """Return the status of each service, as `solo60 health --json` reports it."""
    report = json.loads(mesh.solo60("health", "--json").stdout)
    return {name: entry["status"] for name, entry in report.items()}


def gym_names(mesh: LocalMesh) -> list[str]:
    """Return the names of all gyms."""
    answer = json.loads(mesh.solo60("call", "gym.ListGyms", "--json").stdout)
    return [gym["name"] for gym in answer["gyms"]]


def refuse_to_start(mesh: LocalMesh, nats_url: str) -> None:
    """Start a mesh whose services cannot start: one is quoted with its log; services, PostgreSQL and lock are gone."""
    process = mesh.start(nats_url=nats_url)
    wait_for(lambda: "postgresql: SERVING" in mesh.output)
    family = family_of(process)

    assert process.wait(60) == 1
    sentence = mesh.output.splitlines()[-1]
    found = re.match(r"(\w+) did not start: NATS_URL: the server refuses this user and password", sentence)
    assert found is not None, sentence
    assert str(mesh.data_dir / "logs" / f"{found[1]}.jsonl") in sentence
    assert all_gone(family)
    assert not (mesh.data_dir / LOCK_NAME).exists()


async def test_a_mesh_starts_books_stops_and_remembers(stopped_mesh: LocalMesh, tmp_path: Path) -> None:
    """J1, S5: all seven are SERVING, the demo ends well twice, Ctrl-C leaves no process and no lock, data stays.

    A start that fails in between changes nothing.
    """
    process = stopped_mesh.up("--demo")
    family = family_of(process)
    assert statuses(stopped_mesh) == SERVING
    assert len(family) > len(SERVICE_NAMES) + 1

    assert stop(process, signal.SIGINT) == 0
    assert all_gone(family)
    assert not (stopped_mesh.data_dir / LOCK_NAME).exists()

    async with nats_served(tmp_path / "nats", "--user", "ada", "--pass", "right") as nats:
        await asyncio.to_thread(refuse_to_start, stopped_mesh, nats.url.replace("//", "//ada:wrong@"))

    again = stopped_mesh.up()
    assert gym_names(stopped_mesh) == ["Field Street Gym"]
    demo = stopped_mesh.solo60("demo", "booking", "--json")
    assert demo.returncode == 0, demo.stderr
    assert stop(again, signal.SIGINT) == 0


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
