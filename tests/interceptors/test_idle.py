from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import grpc.aio
import pytest

from contracts.errors import DeadlineExceeded
from contracts.method import find_method
from interceptors.chain.call import Call
from interceptors.idle import ServerIdle
from solo60.example.v1 import echo_pb2
from tests.support.begun_calls import (
    begin_both_streams,
    begin_client_stream,
    begin_server_stream,
    begin_written_streams,
)
from tests.support.echo import EchoServicer
from tests.support.echo_server import Endless
from tests.support.echo_serving import serving
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message
    from structlog.typing import EventDict

    from tests.support.echo_server import EchoServer, ServeEcho

ECHO = "/solo60.example.v1.EchoService/"
BIG = echo_pb2.EchoManyRequest(text="x" * 100_000, repeat=1000)


async def read_all(answers: AsyncIterator[object]) -> None:
    """Read a stream to its end."""
    async for _ in answers:
        pass


async def deadline_error_of(call: Any) -> DeadlineExceeded:
    """Wait until a call exceeds its deadline, and return the error."""
    with pytest.raises(DeadlineExceeded) as caught:
        await (read_all(call) if hasattr(call, "__aiter__") else call)
    return caught.value


async def test_an_idle_stream_ends(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """A stream of any shape ends after 1 s without a message.

    The caller or the handler may be silent, or the caller may not read.
    """
    echo, silent = await serve_echo(deadline_factor=1), await serve_echo(deadline_factor=1)
    stub, hook = echo.stub(), Endless()
    silent.servicer.hook = hook
    calls: list[Any] = [
        begin_client_stream(stub),
        begin_both_streams(stub),
        begin_written_streams(stub),
        begin_server_stream(silent.stub()),
    ]
    unread = aiter(stub.EchoMany(BIG))
    await anext(unread)

    errors = await asyncio.gather(*map(deadline_error_of, calls))
    # The caller gets no error while it does not read.
    await eventually(lambda: [line["event"] for line in logs].count("call") == len(calls) + 1)
    errors.append(await deadline_error_of(unread))

    names = ["EchoJoined", "EchoEach", "EchoEach", "EchoMany", "EchoMany"]
    assert [error.message for error in errors] == [f"{ECHO[1:]}{name} was idle for 1 s." for name in names]
    await hook.cancelled.wait()


class ManualClock:
    """Clock that a test moves, with a count of its readings."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.readings = 0
        self.was_read = asyncio.Event()

    def __call__(self) -> float:
        """Return the time that the test has set."""
        self.readings += 1
        self.was_read.set()
        return self.now

    async def wait_for_readings(self, times: int) -> None:
        """Wait for this many further readings."""
        until = self.readings + times
        while self.readings < until:
            self.was_read.clear()
            await self.was_read.wait()


class SignallingIdle(ServerIdle):
    """Idle interceptor that signals each request."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(factor=0.01, now=clock)
        self.requested = asyncio.Event()

    def on_request(self, call: Call, message: Message) -> None:
        """Handle the request and signal it."""
        super().on_request(call, message)
        self.requested.set()


async def test_each_request_restarts_the_idle_time_of_a_stream() -> None:
    """Each request restarts the idle time of a stream, and the stream ends when no request follows in time."""
    clock = ManualClock()
    idle = SignallingIdle(clock)
    async with serving(idle) as stub:
        call: Any = stub.EchoJoined()
        for _ in range(3):
            idle.requested.clear()
            await call.write(echo_pb2.EchoJoinedRequest(text="hi"))
            await idle.requested.wait()
            clock.now += 0.009
            await clock.wait_for_readings(2)
        assert not call.done()

        clock.now += 0.002

        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await call.details() == "solo60.example.v1.EchoService/EchoJoined was idle for 0.01 s."


async def test_each_answer_restarts_the_idle_time_of_a_stream() -> None:
    """Each answer restarts the idle time of a stream, and the timer stops when the stream has ended."""
    clock = ManualClock()
    servicer = EchoServicer()
    answers = iter(range(3))

    async def hook() -> None:
        if next(answers) > 0:
            clock.now += 0.009
            await clock.wait_for_readings(2)

    servicer.hook = hook
    async with serving(ServerIdle(factor=0.01, now=clock), servicer=servicer) as stub:
        call: Any = stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=3))
        assert [answer.text async for answer in call] == ["hi"] * 3

        readings = clock.readings
        await asyncio.sleep(0.1)
        assert clock.readings == readings


async def test_unread_answers_of_a_finished_stream_are_not_idle(echo: EchoServer) -> None:
    """A caller gets every answer of a finished handler, even if it reads them after the idle time."""
    call: Any = echo.stub().EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=3))
    await echo.stub().Echo(echo_pb2.EchoRequest(text="hi"))
    await asyncio.sleep(1.2)

    assert [answer.text async for answer in call] == ["hi"] * 3


@pytest.mark.parametrize(
    ("path", "is_watched"),
    [
        (ECHO + "EchoMany", True),
        (ECHO + "EchoJoined", True),
        (ECHO + "EchoEach", True),
        (ECHO + "Echo", False),
        ("/grpc.health.v1.Health/Watch", False),
        ("/solo60.session.v1.SessionService/WatchAvailability", True),
    ],
)
def test_only_streams_with_an_idle_timeout_are_watched(path: str, is_watched: bool) -> None:  # noqa: FBT001 - expected value
    """The interceptor applies only to streams with an idle timeout in their contract.

    Health checks may be silent for any time.
    """
    assert ServerIdle().applies_to(find_method(path)) is is_watched


async def test_a_timeout_error_of_a_handler_is_not_idleness() -> None:
    """A TimeoutError of the handler is passed on and not reported as idleness."""
    method = find_method(ECHO + "EchoMany")

    async def proceed(_call: Any) -> None:
        raise TimeoutError

    call = Call(method, cast("Any", None), {}, b"")
    with pytest.raises(TimeoutError):
        await ServerIdle().intercept(call, proceed)
