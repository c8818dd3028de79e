"""`solo60 new service` in a copy of this repository: the new service passes the checks, and runs with the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.local_mesh import LocalMesh
from tests.support.ports import free_ports
from tests.support.sources import ROOT, copy_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

# The tests that read every contract, service and migration.
TESTS = (
    "tests/services/trainer",
    "tests/contracts",
    "tests/mesh/test_config.py",
    "tests/contracts/test_example_messages.py",
    "tests/services/test_every_call_has_a_deadline.py",
    "tests/services/test_every_rpc_is_served.py",
    "tests/services/test_migrations_are_safe.py",
    "tests/services/test_pages.py",
    "tests/services/test_tables_of_the_mesh.py",
)
# `make` with a virtual environment that is complete.
MAKE = ("make", "-o", ".venv/.ready")
TIMEOUT_S = 600


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copy this repository, write the trainer service there, and generate its code; Python imports from the copy."""
    folder = tmp_path_factory.mktemp("copy") / "solo60"
    copy_sources(folder)
    shutil.copytree(ROOT / "third_party", folder / "third_party")
    if (ROOT / ".mypy_cache").exists():
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    (folder / ".venv").symlink_to(Path(sys.prefix))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(folder / "gen")]))
        run(folder, "solo60", "new", "service", "trainer")
        run(folder, *MAKE, "gen")
        yield folder


def run(folder: Path, *command: str) -> None:
    """Run a command in a folder; fail with its output unless it succeeds."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_service_passes_every_static_check(copy: Path) -> None:
    """Format, style, types, layers, contracts and generated code of a new service are right without a change."""
    run(copy, *MAKE, "lint", "gen-check")


def test_a_new_service_passes_the_tests(copy: Path) -> None:
    """A new service passes its own test, and the tests that read every contract, service and migration."""
    run(copy, sys.executable, "-m", "pytest", "-q", "-n0", *TESTS)


def test_a_new_service_runs_in_the_mesh(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`solo60 up` starts a new service with its own database and key, and `solo60 call` calls it."""
    monkeypatch.chdir(copy)
    monkeypatch.setenv("TRAINER_SERVICE_URL", f"127.0.0.1:{free_ports(1)[0]}")
    with LocalMesh.in_new_folder() as mesh:
        mesh.up()
        called = mesh.solo60("call", "trainer.ListTrainers")
        health = mesh.solo60("health", "--json")
        sound = mesh.solo60("doctor", "--json")

        assert called.returncode == 0, called.stderr
        assert json.loads(called.stdout) == {"trainers": [], "next_page_token": ""}
        assert json.loads(health.stdout)["trainer"]["status"] == "SERVING"
        assert json.loads(sound.stdout)["trainer"]["sound"]
        assert mesh.settings.key_path_of("trainer").exists()
