from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import StatusCode

from contracts.errors import Unavailable
from interceptors.context import current_context
from solo60.example.v1 import echo_pb2
from tests.support.echo import EchoServicer
from tests.support.echo_server import Endless
from tests.support.eventually import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from structlog.typing import EventDict

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")


async def for_ever() -> AsyncIterator[echo_pb2.EchoJoinedRequest]:
    """Send one message and never finish."""
    yield echo_pb2.EchoJoinedRequest(text="hi")
    await asyncio.Event().wait()


def unary(stub: EchoServiceAsyncStub) -> Any:  # noqa: ANN401 - a call of any shape
    """Begin a call with one message each way."""
    return stub.Echo(HI)


def server_stream(stub: EchoServiceAsyncStub) -> Any:  # noqa: ANN401 - a call of any shape
    """Begin a call with many answers."""
    return stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=3))


def client_stream(stub: EchoServiceAsyncStub) -> Any:  # noqa: ANN401 - a call of any shape
    """Begin a call with many requests."""
    return stub.EchoJoined(for_ever())


def both_streams(stub: EchoServiceAsyncStub) -> Any:  # noqa: ANN401 - a call of any shape
    """Begin a call with many messages each way."""
    return stub.EchoEach(echo_pb2.EchoEachRequest(text=each.text) async for each in for_ever())


def written(stub: EchoServiceAsyncStub) -> Any:  # noqa: ANN401 - a call of any shape
    """Begin a call whose messages are written and read one by one."""
    return stub.EchoEach()


each_shape = pytest.mark.parametrize("begin", [unary, server_stream, client_stream, both_streams, written])


async def outcome(call: Any) -> None:  # noqa: ANN401 - a call of any shape
    """Wait for the end of a call."""
    if hasattr(call, "__aiter__"):
        await call.read()
    else:
        await call


@each_shape
async def test_a_cancelled_call_cancels_its_handler_and_leaves_nothing(
    echo: EchoServer, logs: list[EventDict], begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """T-b3: the handler sees CancelledError, both spans end and say so, one line is logged, no task stays."""
    before = asyncio.all_tasks()
    hook = echo.servicer.hook = Endless()  # type: ignore[method-assign]  # what the hook is for
    call = begin(echo.stub())
    waiting = asyncio.create_task(outcome(call))
    await hook.entered.wait()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    await hook.cancelled.wait()
    await echo.stop()
    await until_ended(asyncio.all_tasks() - before)
    await until_both_sides_ended(echo)
    # As OpenTelemetry has it, a caller's change of mind is no error of the server.
    assert [span.status.status_code for span in echo.spans()] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [(span.attributes or {})["rpc.status_code"] for span in echo.spans()] == ["CANCELLED", "CANCELLED"]
    assert [line["code"] for line in logs if line["event"] == "call"] == ["CANCELLED"]
    assert [line for line in logs if line["log_level"] == "error"] == []


async def test_a_stream_cancelled_between_two_answers_ends_its_handler(echo: EchoServer) -> None:
    """T-b3: also where the handler is not waiting but the caller has stopped reading."""
    call = echo.stub().EchoMany(echo_pb2.EchoManyRequest(text="x" * 100_000, repeat=1000))
    answers = aiter(call)
    await anext(answers)

    call.cancel()
    await echo.stop()

    await until_both_sides_ended(echo)
    assert echo.servicer.entered < 1000
    assert [(span.attributes or {})["rpc.status_code"] for span in echo.spans()] == ["CANCELLED", "CANCELLED"]


async def test_a_cancellation_goes_through_every_hop(serve_echo: ServeEcho) -> None:
    """T-b3: who waits for a call that nobody waits for any more stops waiting."""
    front, back = await serve_echo(), await serve_echo()
    hook = back.servicer.hook = Endless()  # type: ignore[method-assign]  # what the hook is for
    stub = back.stub()

    async def call_back() -> None:
        await stub.Echo(HI)

    front.servicer.hook = call_back  # type: ignore[method-assign]  # what the hook is for
    call: Any = front.stub().Echo(HI)
    waiting = asyncio.create_task(outcome(call))
    await hook.entered.wait()

    call.cancel()
    await hook.cancelled.wait()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_caller_that_is_cancelled_cancels_its_call(echo: EchoServer) -> None:
    """T-b3: not only call.cancel(), but the end of the task that awaits the call."""
    hook = echo.servicer.hook = Endless()  # type: ignore[method-assign]  # what the hook is for
    waiting = asyncio.create_task(outcome(echo.stub().Echo(HI)))
    await hook.entered.wait()

    waiting.cancel()

    await hook.cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def until_accepted(stub: EchoServiceAsyncStub) -> str:
    """Call until the server has seen the end of those streams that count against what one connection may hold open."""
    while True:
        try:
            return (await stub.Echo(HI)).text
        except Unavailable as refused:
            assert "error code 7" in refused.message  # noqa: PT017 - REFUSED_STREAM: nothing of it was processed


async def test_a_thousand_cancelled_calls_leave_no_task(echo: EchoServer) -> None:
    """T-b3: nothing piles up, and the server serves on."""
    before = asyncio.all_tasks()
    stub = echo.stub()
    hook = echo.servicer.hook = Endless()  # type: ignore[method-assign]  # what the hook is for
    calls: list[Any] = [stub.Echo(HI) for _ in range(1000)]
    waiting = asyncio.gather(*map(outcome, calls), return_exceptions=True)
    await hook.entered.wait()

    for call in calls:
        call.cancel()

    assert {type(each) for each in await waiting} == {asyncio.CancelledError}
    hook.is_open.set()
    assert await until_accepted(stub) == "hi"
    assert current_context() is None
    await echo.stop()
    await until_ended(asyncio.all_tasks() - before)


class Impatient(EchoServicer):
    """Answers the first request and reads no further."""

    async def EchoJoined(self, request_iterator: Any, context: Any) -> echo_pb2.EchoJoinedResponse:  # noqa: ANN401, ARG002, N802 - as generated
        """Answer with the first text alone."""
        return echo_pb2.EchoJoinedResponse(text=(await anext(request_iterator)).text)

    async def EchoEach(self, request_iterator: Any, context: Any) -> AsyncIterator[echo_pb2.EchoEachResponse]:  # type: ignore[override]  # noqa: ANN401, ARG002, N802 - as generated
        """Answer the first text alone."""
        yield echo_pb2.EchoEachResponse(text=(await anext(request_iterator)).text)


async def test_an_answer_before_the_last_request_is_a_good_one(serve_echo: ServeEcho) -> None:
    """The server may end a call well while its client still writes; grpc.aio alone would tell of an INTERNAL error."""
    before = asyncio.all_tasks()
    echo = await serve_echo(Impatient())  # type: ignore[abstract]  # Promise is but promised
    stub = echo.stub()

    answers = [answer.text async for answer in stub.EchoEach(echo_pb2.EchoEachRequest(text="hi") for _ in range(2000))]
    joined = await stub.EchoJoined(echo_pb2.EchoJoinedRequest(text="hi") for _ in range(2000))
    await echo.stop()
    await until_ended(asyncio.all_tasks() - before)

    assert (answers, joined.text) == (["hi"], "hi")
    assert [span.status.is_ok for span in echo.spans()] == [True] * 4


async def until_both_sides_ended(echo: EchoServer) -> None:
    """Wait until the caller's span has ended too: gRPC's core tells of a stream's end when it has reset it."""
    async with asyncio.timeout(PATIENCE_S):
        while len(echo.spans()) < 2:  # noqa: ASYNC110 - an exporter says nothing
            await asyncio.sleep(0.001)


async def until_ended(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait until all tasks but this one have ended by themselves."""
    tasks -= {asyncio.current_task()}
    if tasks:
        _, still = await asyncio.wait(tasks, timeout=PATIENCE_S)
        assert still == set()
