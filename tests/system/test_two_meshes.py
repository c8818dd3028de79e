"""Meshes beside and after one another on the same machine."""

from __future__ import annotations

import json
import random
import signal

import psutil
import pytest

from mesh.config import SERVICE_NAMES
from tests.support.local_mesh import IS_UP, LocalMesh, all_gone, family_of

pytestmark = pytest.mark.system
OFFSET = 1000


def test_one_setting_puts_a_second_mesh_beside_the_first(stopped_mesh: LocalMesh) -> None:
    """PORT_OFFSET moves services, metrics and inbox; each mesh keeps its own data, and serves its own callers."""
    # Below the ports of other tests, so that the offset leads to none of theirs.
    base = random.SystemRandom().randrange(4_000, 7_000)
    urls = {f"{name}_service_url": f"127.0.0.1:{base + n}" for n, name in enumerate(SERVICE_NAMES, 1)}
    stopped_mesh.settings_by_name |= {**urls, "smtp_url": f"smtp://127.0.0.1:{base + 25}"}
    stopped_mesh.up("--demo")

    with LocalMesh.in_new_folder() as second:
        second.settings_by_name |= {
            **stopped_mesh.settings_by_name, "data_dir": second.data_dir, "port_offset": OFFSET,
        }  # fmt: skip
        second.up()

        demos = [mesh.solo60("demo", "booking", "--json") for mesh in (stopped_mesh, second)]
        assert [demo.returncode for demo in demos] == [0, 0], demos
        assert len(json.loads(stopped_mesh.solo60("inbox", "--json").stdout)) == 4
        assert len(json.loads(second.solo60("inbox", "--json").stdout)) == 2
        ports = [ports_of(mesh) for mesh in (stopped_mesh, second)]
        assert not ports[0] & ports[1]
        assert {base + n + OFFSET for n in range(1, 8)} | {base + 25 + OFFSET} <= ports[1]
        assert "no metrics" not in stopped_mesh.output + second.output


def ports_of(mesh: LocalMesh) -> set[int]:
    """Return the ports on which the processes of a mesh listen."""
    return {
        connection.laddr.port
        for process in family_of(mesh.process)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_a_start_right_after_a_kill_waits_for_the_orphans(stopped_mesh: LocalMesh) -> None:
    """The services of the killed mesh still drain, on the ports that the new one needs."""
    killed = stopped_mesh.up(drain_wait_s=2)
    orphans = family_of(killed)[1:]
    killed.kill()
    killed.wait()

    stopped_mesh.up()

    assert all_gone(orphans)
    assert "mesh: waiting for the services of a mesh that was killed" in stopped_mesh.output


def test_orphans_that_do_not_end_are_named(stopped_mesh: LocalMesh) -> None:
    """One line says which processes are in the way, and how to end them."""
    killed = stopped_mesh.up()
    (gym,) = [process for process in family_of(killed) if "services.gym" in process.cmdline()]
    gym.suspend()
    killed.kill()
    killed.wait()

    refused = stopped_mesh.solo60("up", drain_grace_s=0)
    gym.send_signal(signal.SIGKILL)

    assert refused.returncode == 2
    assert refused.stderr.startswith("DATA_DIR: services of a mesh that was killed still run in ")
    assert f"`kill -9 {gym.pid}` ends them" in refused.stderr
    stopped_mesh.up()
    assert IS_UP in stopped_mesh.output
