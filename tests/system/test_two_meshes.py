"""Meshes beside and after one another on the same machine."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from mesh.config import SERVICE_NAMES, child_environment
from mesh.supervised_settings import METRICS_PORT_DISTANCE
from tests.support.local_mesh import LocalMesh, all_gone, family_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system
OFFSET = 1000
# Below the ports of other tests, so that the offset leads to none of theirs.
BASE = random.SystemRandom().randrange(4_000, 7_000)


@pytest.fixture(scope="module")
def folder_of_first_mesh() -> Iterator[LocalMesh]:
    """Make a mesh for all tests of this module."""
    with LocalMesh.in_new_folder() as mesh:
        urls = {f"{name}_service_url": f"127.0.0.1:{BASE + n}" for n, name in enumerate(SERVICE_NAMES, 1)}
        mesh.settings_by_name |= {**urls, "smtp_url": f"smtp://127.0.0.1:{BASE + 25}"}
        mesh.settings = mesh.settings_with()
        yield mesh


@pytest.fixture
def first_mesh(folder_of_first_mesh: LocalMesh) -> LocalMesh:
    """Return a mesh that runs; start it if the last test has ended it. Its services take two seconds to drain."""
    if not folder_of_first_mesh.is_running:
        folder_of_first_mesh.up("--demo", drain_wait_s=2)
    assert folder_of_first_mesh.is_serving()
    return folder_of_first_mesh


def test_one_setting_puts_a_second_mesh_beside_the_first(first_mesh: LocalMesh) -> None:
    """PORT_OFFSET moves services, metrics and inbox; each mesh keeps its own data, and serves its own callers."""
    with LocalMesh.in_new_folder() as second:
        second.settings_by_name |= {
            **first_mesh.settings_by_name, "data_dir": second.data_dir, "port_offset": OFFSET,
        }  # fmt: skip
        second.up()

        demos = [mesh.solo60("demo", "booking", "--json") for mesh in (first_mesh, second)]
        assert [demo.returncode for demo in demos] == [0, 0], demos
        assert len(json.loads(first_mesh.solo60("inbox", "--json").stdout)) == 4
        assert len(json.loads(second.solo60("inbox", "--json").stdout)) == 2
        ports = [ports_of(mesh) for mesh in (first_mesh, second)]
        assert not ports[0] & ports[1]
        assert {BASE + n + OFFSET for n in range(1, 8)} | {BASE + 25 + OFFSET} <= ports[1]
        assert "no metrics" not in first_mesh.output + second.output


def ports_of(mesh: LocalMesh) -> set[int]:
    """Return the ports on which the processes of a mesh listen."""
    return {
        connection.laddr.port
        for process in family_of(mesh.process)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_a_second_mesh_in_the_same_folder_is_refused(first_mesh: LocalMesh) -> None:
    """Two meshes never share a data folder; the sentence names the setting and the process."""
    second = first_mesh.solo60("up")

    assert second.returncode == 2
    assert second.stderr.startswith("DATA_DIR: process ")
    assert second.stderr.count("\n") == 1
    assert first_mesh.is_serving()


def test_a_reset_beside_a_running_mesh_is_refused(first_mesh: LocalMesh) -> None:
    """One line, and the mesh loses nothing."""
    done = reset(first_mesh)

    assert done.returncode == 1
    assert done.stderr.startswith("DATA_DIR: process ")
    assert (first_mesh.data_dir / "keys").is_dir()


def reset(mesh: LocalMesh) -> subprocess.CompletedProcess[str]:
    """Do what `make reset` does."""
    command = [sys.executable, "-m", "mesh.reset"]
    environment = child_environment(**mesh.settings_by_name)
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True)


def test_a_start_right_after_a_kill_waits_for_the_orphans(first_mesh: LocalMesh) -> None:
    """J6: the services of the killed mesh still drain, on the ports that the new one needs; its data is as before."""
    orphans = killed(first_mesh)

    first_mesh.up()

    assert all_gone(orphans)
    assert "mesh: waiting for the services of a mesh that was killed" in first_mesh.output
    assert first_mesh.is_serving()


def killed(mesh: LocalMesh) -> list[psutil.Process]:
    """Kill a supervisor and return what it had started."""
    orphans = family_of(mesh.process)[1:]
    mesh.process.kill()
    mesh.process.wait()
    return orphans


def test_orphans_that_do_not_end_are_named(first_mesh: LocalMesh) -> None:
    """J6: one line says which process is in the way, and how to end it; all others end by themselves."""
    (auth,) = [process for process in family_of(first_mesh.process) if "services.auth" in process.cmdline()]
    auth.suspend()
    orphans = killed(first_mesh)
    wait_for(lambda: all_gone([orphan for orphan in orphans if orphan != auth]))

    refused = first_mesh.solo60("up", drain_grace_s=0)
    auth.send_signal(signal.SIGKILL)

    assert refused.returncode == 2
    assert refused.stderr.startswith("DATA_DIR: services of a mesh that was killed still run in ")
    assert f"`kill -9 {auth.pid}` ends them" in refused.stderr
    with metrics_port_of_gym_taken(first_mesh):
        first_mesh.up(drain_wait_s=1)
    assert first_mesh.is_serving()
    # Whoever scrapes that port would take another's metrics for the service's.
    (told,) = [line for line in first_mesh.output.splitlines() if "metrics: " in line]
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


def test_a_reset_right_after_a_kill_waits_for_the_orphans(first_mesh: LocalMesh) -> None:
    """It erases nothing under the feet of a service that still drains, and leaves nothing."""
    orphans = killed(first_mesh)

    done = reset(first_mesh)

    assert (done.returncode, done.stderr) == (0, "")
    assert all_gone(orphans)
    assert list(first_mesh.data_dir.iterdir()) == []
