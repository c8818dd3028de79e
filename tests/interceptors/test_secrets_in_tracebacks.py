"""What a traceback with local variables shows of a call: no request and no API key in any frame of ours."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contracts.errors import ServiceError
from interceptors.keyring import mint_key
from interceptors.server import Call, ServerInterceptor
from mesh.server import server_interceptors
from solo60.example.v1 import echo_pb2
from tests.interceptors.test_errors import each_shape
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from interceptors.server import Proceed
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.interceptors.test_errors import Shape
    from tests.support.echo_server import EchoServer, ServeEcho

ROOT = Path(__file__).parents[2]
OURS = tuple(str(ROOT / layer) for layer in ("contracts", "interceptors", "mesh"))
PRIVATE = "hunter2@example.com"

CRASH = f"""
import asyncio, sys
import grpc.aio
from interceptors.api_key import ServerApiKey
from interceptors.context import ServerContext
from interceptors.keyring import Keyring, record_of_key
from interceptors.validation import ServerValidation
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.example.v1.echo_pb2_grpc import EchoServiceServicer, EchoServiceStub, add_EchoServiceServicer_to_server

class Crashing(EchoServiceServicer):
    async def Echo(self, request, context):
        raise LookupError("the crash")

async def main(key):
    keyring = Keyring([record_of_key(key, "tester", ["example.echo"])])
    server = grpc.aio.server(interceptors=[ServerContext(), ServerApiKey(lambda: keyring), ServerValidation()])
    add_EchoServiceServicer_to_server(Crashing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{{port}}") as channel:
        call = EchoServiceStub(channel).Echo(EchoRequest(text="{PRIVATE}"), metadata=(("x-api-key", key),))
        print(await call.code())
    await server.stop(0)

asyncio.run(main(sys.argv[1]))
"""


def test_a_crash_prints_no_secret_where_structlog_is_left_as_it_is() -> None:
    """By default structlog prints the local variables of each frame, of the handler's too."""
    key = mint_key("test")

    done = subprocess.run([sys.executable, "-c", CRASH, key], capture_output=True, text=True, check=True, cwd=ROOT)

    printed = done.stdout + done.stderr
    assert "StatusCode.INTERNAL" in printed
    assert "LookupError: the crash" in printed
    assert key not in printed
    assert PRIVATE not in printed


class Outermost(ServerInterceptor):
    """Keeps the errors that pass, as a tool for errors would."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        """Keep what is raised."""
        try:
            return await proceed(call)
        except BaseException as error:
            self.errors.append(error)
            raise


def frames_of(error: BaseException | None) -> Iterator[FrameType]:
    """Yield each frame of an error and of what led to it that is of our code, and none of the tests'."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.startswith(OURS):
                yield frame
        error = error.__cause__ or error.__context__


def shown_by(frame: FrameType) -> dict[str, str]:
    """Return what a tool prints of a frame."""
    return {name: repr(value) for name, value in frame.f_locals.items()}


class Private(EchoServicer):
    """Fails after it was called."""

    async def hook(self) -> None:
        """Fail."""
        raise LookupError

    async def EchoMany(self, request: Any, context: Any) -> Any:  # noqa: ANN401, ARG002, N802 - as generated
        """Fail in the midst of answers."""
        yield echo_pb2.EchoManyResponse(text=request.text)
        raise LookupError


async def bad_request(stub: EchoServiceAsyncStub) -> object:
    """Break a rule of the contract."""
    return await stub.Echo(echo_pb2.EchoRequest(text="", email=PRIVATE))


async def bad_requests(stub: EchoServiceAsyncStub) -> object:
    """Break a rule in a stream."""
    return await stub.EchoJoined(iter([echo_pb2.EchoJoinedRequest(text=PRIVATE), echo_pb2.EchoJoinedRequest()]))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Outermost:
    """Put a keeper of errors around the interceptors of each echo server."""
    outermost = Outermost()
    monkeypatch.setattr(
        "tests.support.echo_server.server_interceptors",
        lambda *arguments: [outermost, *server_interceptors(*arguments)],
    )
    return outermost


async def assert_nothing_is_shown(kept: Outermost, echo: EchoServer, call: Shape, key: str) -> None:
    """Make a call that fails, and look at all that its traceback holds."""
    with pytest.raises(ServiceError):
        await call(echo.stub(key))

    [error] = kept.errors
    frames = list(frames_of(error))
    assert frames
    for frame in frames:
        for name, shown in shown_by(frame).items():
            where = f"{name} in {frame.f_code.co_qualname}"
            assert key not in shown, where
            assert PRIVATE not in shown, where
            assert "'hi'" not in shown, where
            assert b"\x0a\x02hi" not in frame.f_locals.values(), where


@each_shape
@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_no_frame_shows_the_request_of_a_crash(
    serve_echo: ServeEcho, kept: Outermost, call: Shape, engine: str
) -> None:
    """In every shape."""
    echo = await serve_echo(Private(), engine=engine)  # type: ignore[abstract]  # Promise is but promised
    await assert_nothing_is_shown(kept, echo, call, echo.key)


@pytest.mark.parametrize("call", [bad_request, bad_requests])
async def test_no_frame_shows_a_bad_request(serve_echo: ServeEcho, kept: Outermost, call: Shape) -> None:
    """Nor the good ones that came before it."""
    echo = await serve_echo()
    await assert_nothing_is_shown(kept, echo, call, echo.key)


async def test_no_frame_shows_a_refused_key(serve_echo: ServeEcho, kept: Outermost) -> None:
    """It may be the good key of another environment."""
    echo = await serve_echo()
    await assert_nothing_is_shown(kept, echo, bad_request, mint_key("test"))
