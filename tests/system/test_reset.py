from __future__ import annotations

import subprocess
import sys

import pytest

from mesh.config import child_environment
from tests.support.local_mesh import LocalMesh, all_gone, family_of

pytestmark = pytest.mark.system


def reset(mesh: LocalMesh) -> subprocess.CompletedProcess[str]:
    """Do what `make reset` does."""
    command = [sys.executable, "-m", "mesh.reset"]
    environment = child_environment(**mesh.settings_by_name)
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True)


def test_a_reset_right_after_a_kill_waits_for_the_orphans(stopped_mesh: LocalMesh) -> None:
    """It erases nothing under the feet of a service that still drains, and leaves nothing."""
    killed = stopped_mesh.up(drain_wait_s=1)
    orphans = family_of(killed)[1:]
    killed.kill()
    killed.wait()

    done = reset(stopped_mesh)

    assert (done.returncode, done.stderr) == (0, "")
    assert all_gone(orphans)
    assert list(stopped_mesh.data_dir.iterdir()) == []


def test_a_reset_beside_a_running_mesh_is_refused(stopped_mesh: LocalMesh) -> None:
    """One line, and the mesh loses nothing."""
    stopped_mesh.up()

    done = reset(stopped_mesh)

    assert done.returncode == 1
    assert done.stderr.startswith("DATA_DIR: process ")
    assert (stopped_mesh.data_dir / "keys").is_dir()
