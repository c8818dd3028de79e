from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.keys import OPERATOR
from services.gym.app import SERVICE
from solo60.gym.v1.gym_pb2 import CreateGymRequest, OpeningHours
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.support.node import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.serving import MeshForTests, Serve

# Runs a script with the given import paths. With -S, no .pth file can add this repository to the path.
ALONE = "import runpy, sys; sys.path[:0] = sys.argv[2:]; runpy.run_path(sys.argv[1], run_name='__main__')"


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Run a gym service with one gym."""
    mesh = await serve(SERVICE)
    gym = CreateGymRequest(
        name="Field Street Gym",
        time_zone="Europe/London",
        credits_per_hour=10,
        opening_hours=OpeningHours(opens_minute=0, closes_minute=1440),
    )
    gym.price_per_hour.currency_code, gym.price_per_hour.minor_units = "GBP", 1250
    await mesh.stub(GymServiceStub).CreateGym(gym)
    return mesh


@pytest.fixture
def environment(mesh: MeshForTests, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a client: the address of the service and the file with the API key."""
    (tmp_path / "key").write_text(mesh.keys[OPERATOR])
    address = mesh.settings.url_of("gym")
    return {"PATH": os.environ["PATH"], "GYM_SERVICE_URL": address, "SERVICE_API_KEY_FILE": str(tmp_path / "key")}


@pytest.fixture
def cloned_gen(tmp_path: Path) -> Path:
    """Copy the files of gen/ that a clone contains, without the files that setup generates."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "gen"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.rstrip("\0").split("\0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path / "gen"


async def output_of(*command: str | Path, environment: Mapping[str, str]) -> str:
    """Run a program beside the server and return its output. Fail with its error output if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_a_node_client_needs_only_the_exported_contracts(
    node_folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """A Node client can call a service with nothing but the contracts that `buf export` writes."""
    (tmp_path / "node_modules").symlink_to(node_folder / "node_modules")
    buf = Path(sys.executable).with_name("buf")
    await output_of(buf, "export", ROOT, "--output", tmp_path / "proto", environment=environment)
    script = shutil.copy(ROOT / "examples/call_a_service.mjs", tmp_path)

    output = await output_of("node", script, environment=environment)

    assert output.endswith(" Field Street Gym\n")


async def test_a_python_client_needs_only_gen_of_a_clone(cloned_gen: Path, environment: dict[str, str]) -> None:
    """A Python client can call a service with the committed gen/, grpcio and protobuf alone."""
    paths = [str(cloned_gen), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    example = ROOT / "examples/call_with_grpcio.py"

    output = await output_of(sys.executable, "-I", "-S", "-c", ALONE, example, *paths, environment=environment)

    assert output.endswith(" Field Street Gym\n")


async def test_every_generated_module_imports_from_a_clone(cloned_gen: Path, tmp_path: Path) -> None:
    """Every generated module imports without any file that is not committed."""
    modules = modules_in(cloned_gen)
    (tmp_path / "importing.py").write_text("\n".join(f"import {name}" for name in modules))
    paths = [str(cloned_gen), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]

    await output_of(sys.executable, "-I", "-S", "-c", ALONE, tmp_path / "importing.py", *paths, environment={})

    assert "solo60.mesh.v1.policy_pb2_grpc" in modules


def modules_in(gen: Path) -> list[str]:
    """Return the names of the generated modules."""
    return [".".join(path.relative_to(gen).with_suffix("").parts) for path in sorted(gen.rglob("*_pb2*.py"))]
