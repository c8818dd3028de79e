from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from contracts.documents.commands import Commands, ShellWords
from contracts.documents.python_example import PythonExpression
from contracts.image import name_of
from contracts.method import find_method
from local.keys import OPERATOR
from services.gym.app import SERVICE
from tests.contracts.documents.compiled import catalog_of_ours

if TYPE_CHECKING:
    from tests.support.serving import MeshForTests, Serve

METHODS = {name_of(method): method for method in catalog_of_ours().methods()}
COMMANDS = Commands(catalog_of_ours(), ShellWords())
LIST_GYMS = METHODS["solo60.gym.v1.GymService/ListGyms"]
PROGRAMS = Path(sys.executable).parent


@pytest.mark.parametrize("name", METHODS)
def test_the_python_of_a_request_builds_its_example(name: str) -> None:
    """The Python of each method builds the example request, from classes that it imports itself."""
    example = COMMANDS.example_of(METHODS[name])
    expression = PythonExpression(example)
    found: dict[str, Any] = {}
    exec("\n".join([*expression.import_lines(), f"request = {expression.text}"]), found)  # noqa: S102 - our own output

    assert type(found["request"]) is find_method(name).request_type
    assert found["request"].SerializeToString(deterministic=True) == example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", METHODS)
def test_a_program_compiles(name: str) -> None:
    """The Python program of each method compiles, and has no line that a code host must scroll far."""
    program = COMMANDS.python(METHODS[name])

    compile(program, name, "exec")
    assert max(map(len, program.splitlines())) <= 150


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Run a gym service."""
    return await serve(SERVICE, reflection_open=True)


async def run(mesh: MeshForTests, tmp_path: Path, *command: str) -> str:
    """Run a program with the address and the key of the mesh, and return its output."""
    (tmp_path / "key").write_text(mesh.keys[OPERATOR])
    environment = os.environ | {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "API_KEY": mesh.keys[OPERATOR],
        "GYM_SERVICE_URL": mesh.settings.url_of("gym"),
        "SERVICE_API_KEY_FILE": str(tmp_path / "key"),
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe, cwd=tmp_path)
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def shell_line(mesh: MeshForTests, tool: str) -> str:
    """Return the request and one command of ListGyms, with the address of the mesh."""
    request, *commands = COMMANDS.shell(LIST_GYMS).splitlines()
    [command] = [each for each in commands if each.startswith(tool)]
    return f"{request}\n{command}".replace("127.0.0.1:50053", mesh.settings.url_of("gym"))


@pytest.mark.parametrize("tool", ["buf curl", "grpcurl", "solo60 call"])
async def test_a_command_calls_a_server(mesh: MeshForTests, tmp_path: Path, tool: str) -> None:
    """Each documented command calls its method on a running server."""
    if shutil.which(tool.split(maxsplit=1)[0], path=f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}") is None:
        pytest.skip(f"{tool} is not on PATH")

    printed = await run(mesh, tmp_path, "sh", "-c", shell_line(mesh, tool))

    json_format.Parse(printed, find_method("/solo60.gym.v1.GymService/ListGyms").response_type())


async def test_the_program_calls_a_server(mesh: MeshForTests, tmp_path: Path) -> None:
    """The documented Python program calls its method on a running server, with the settings of the mesh."""
    (tmp_path / "program.py").write_text(COMMANDS.python(LIST_GYMS))

    await run(mesh, tmp_path, sys.executable, "program.py")


async def test_a_program_without_the_mesh_calls_a_server(mesh: MeshForTests, tmp_path: Path) -> None:
    """The program for a service without a default port calls a server on a bare channel, with key and address."""
    method = METHODS["solo60.mesh.v1.OutboxService/GetSchedule"]
    program = COMMANDS.python(method).replace('os.environ["ADDRESS"]', f'"{mesh.settings.url_of("gym")}"')
    (tmp_path / "program.py").write_text(program)

    await run(mesh, tmp_path, sys.executable, "program.py")
