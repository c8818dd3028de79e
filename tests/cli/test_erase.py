from __future__ import annotations

import asyncio
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from local.keys import OPERATOR
from mesh.config import child_environment
from services.user.app import SERVICE
from solo60.user.v1.user_pb2 import GetUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.user_requests import add_user
from tests.support.local_mesh import SOLO60

if TYPE_CHECKING:
    from tests.cli.conftest import Solo60
    from tests.support.serving import MeshForTests, Serve

USER_ID = "01980000-0000-7000-8000-000000000001"


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Run the user service."""
    return await serve(SERVICE)


async def run_command(mesh: MeshForTests, *arguments: str, answer: str = "") -> tuple[int | None, str]:
    """Run a command as the operator, with `answer` as its input; return exit code and standard error."""
    settings = mesh.settings.model_dump(include={"data_dir", "user_service_url", "deadline_factor"})
    process = await asyncio.create_subprocess_exec(
        SOLO60,
        *arguments,
        env={**child_environment(**settings), "SERVICE_API_KEY": mesh.keys[OPERATOR]},
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate(answer.encode())
    return process.returncode, err.decode()


@pytest.mark.parametrize(("arguments", "answer"), [((), "y\n"), (("--yes",), "")])
async def test_a_confirmed_erasure_is_requested(mesh: MeshForTests, arguments: tuple[str, ...], answer: str) -> None:
    """`erase` erases a user after a yes, or with --yes."""
    users = mesh.stub(UserServiceStub)
    user = await add_user(users)

    code, err = await run_command(mesh, "erase", user.user_id, *arguments, answer=answer)

    after = (await users.GetUser(GetUserRequest(user_id=user.user_id))).user
    assert after.HasField("erase_time"), err
    assert code == 0
    assert "Erasure requested at" in err


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_erase_asks_before_it_acts(solo60: Solo60, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """After a no or the end of the input, `erase` ends before any call."""
    monkeypatch.setattr("sys.stdin", StringIO(answer))

    done = solo60("erase", USER_ID)

    assert done.exit_code == 1
    assert f"Erase user {USER_ID} from all services, for ever?" in done.err
    assert done.err.endswith("Aborted.\n")


async def test_erase_reports_an_unknown_user(mesh: MeshForTests) -> None:
    """`erase` of an unknown user fails and prints USER_NOT_FOUND."""
    code, err = await run_command(mesh, "erase", USER_ID, "--yes")

    assert code == 1
    assert "USER_NOT_FOUND" in err
