"""Tracebacks with local variables: no frame of our code shows a request or an API key."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contracts.errors import ServiceError
from interceptors.chain.server import ServerInterceptor
from interceptors.keys.keyring import mint_key
from mesh.serving.server import server_interceptors
from solo60.example.v1 import echo_pb2
from tests.support.call_shapes import each_shape
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from interceptors.chain.call import Call, Proceed
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.call_shapes import Shape
    from tests.support.echo_server import EchoServer, ServeEcho

ROOT = Path(__file__).parents[3]
OURS = tuple(str(ROOT / layer) for layer in ("contracts", "interceptors", "mesh"))
PRIVATE = "hunter2@example.com"

CRASH = f"""
import asyncio, sys
import grpc.aio
from interceptors.keys.interceptor import ServerApiKey
from interceptors.propagation import ServerContext
from interceptors.keys.keyring import Keyring, record_of_key
from interceptors.validation.interceptor import ServerValidation
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


def test_a_crash_prints_no_secret_with_default_structlog() -> None:
    """A crash prints neither request nor key.

    By default, structlog prints the local variables of each frame, also those of the handler.
    """
    key = mint_key("test")

    done = subprocess.run([sys.executable, "-c", CRASH, key], capture_output=True, text=True, check=True, cwd=ROOT)

    printed = done.stdout + done.stderr
    assert "StatusCode.INTERNAL" in printed
    assert "LookupError: the crash" in printed
    assert key not in printed
    assert PRIVATE not in printed


class ErrorRecorder(ServerInterceptor):
    """Interceptor that records errors, like an error tracker."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        """Record the error and raise it again."""
        try:
            return await proceed(call)
        except BaseException as error:
            self.errors.append(error)
            raise


def frames_of(error: BaseException | None) -> Iterator[FrameType]:
    """Yield the frames of an error and its causes that belong to our code, without those of tests."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.startswith(OURS):
                yield frame
        error = error.__cause__ or error.__context__


def locals_of(frame: FrameType) -> dict[str, str]:
    """Return the local variables of a frame as an error tracker prints them."""
    return {name: repr(value) for name, value in frame.f_locals.items()}


class CrashingServicer(EchoServicer):
    """Servicer that fails after it was called."""

    async def hook(self) -> None:
        """Raise an error."""
        raise LookupError

    async def EchoMany(self, request: Any, context: Any) -> Any:
        """Raise an error after the first answer."""
        yield echo_pb2.EchoManyResponse(text=request.text)
        raise LookupError


async def bad_request(stub: EchoServiceAsyncStub) -> object:
    """Send an invalid request."""
    return await stub.Echo(echo_pb2.EchoRequest(text="", email=PRIVATE))


async def bad_requests(stub: EchoServiceAsyncStub) -> object:
    """Send an invalid request in a stream."""
    return await stub.EchoJoined(iter([echo_pb2.EchoJoinedRequest(text=PRIVATE), echo_pb2.EchoJoinedRequest()]))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> ErrorRecorder:
    """Add a recorder of errors around the interceptors of each echo server."""
    outermost = ErrorRecorder()
    monkeypatch.setattr(
        "tests.support.echo_server.server_interceptors",
        lambda *arguments: [outermost, *server_interceptors(*arguments)],
    )
    return outermost


async def assert_nothing_is_shown(recorder: ErrorRecorder, echo: EchoServer, call: Shape, key: str) -> None:
    """Make a failing call, and check all local variables in its traceback."""
    with pytest.raises(ServiceError):
        await call(echo.stub(key))

    [error] = recorder.errors
    frames = list(frames_of(error))
    assert frames
    for frame in frames:
        for name, shown in locals_of(frame).items():
            where = f"{name} in {frame.f_code.co_qualname}"
            assert key not in shown, where
            assert PRIVATE not in shown, where
            assert "'hi'" not in shown, where
            assert b"\x0a\x02hi" not in frame.f_locals.values(), where


@each_shape
@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_no_frame_shows_the_request_of_a_crashed_call(
    serve_echo: ServeEcho, recorder: ErrorRecorder, call: Shape, engine: str
) -> None:
    """No frame in the traceback of a crashed call, of any shape, shows its request or key."""
    echo = await serve_echo(CrashingServicer(), engine=engine)
    await assert_nothing_is_shown(recorder, echo, call, echo.key)


@pytest.mark.parametrize("call", [bad_request, bad_requests])
async def test_no_frame_shows_an_invalid_request(serve_echo: ServeEcho, recorder: ErrorRecorder, call: Shape) -> None:
    """No frame in the traceback of an invalid request shows it, or a valid one before it."""
    echo = await serve_echo()
    await assert_nothing_is_shown(recorder, echo, call, echo.key)


async def test_no_frame_shows_an_unknown_key(serve_echo: ServeEcho, recorder: ErrorRecorder) -> None:
    """No frame in the traceback of a call with an unknown key shows that key.

    The key may be valid in another environment.
    """
    echo = await serve_echo()
    await assert_nothing_is_shown(recorder, echo, bad_request, mint_key("test"))
