from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import StatusCode

from contracts.errors import Unavailable
from interceptors.context import current_context
from solo60.example.v1 import echo_pb2
from tests.support.begun_calls import each_begun_shape, until_ended, wait_for_end
from tests.support.call_shapes import HI
from tests.support.echo import EchoServicer
from tests.support.echo_server import Endless
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from structlog.typing import EventDict

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho


@each_begun_shape
async def test_a_cancelled_call_cancels_its_handler(
    echo: EchoServer, logs: list[EventDict], begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """Cancelling a call cancels its handler, ends both spans as CANCELLED, logs one line and leaves no task."""
    before = asyncio.all_tasks()
    hook = echo.servicer.hook = Endless()
    call = begin(echo.stub())
    waiting = asyncio.create_task(wait_for_end(call))
    await hook.entered.wait()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    await hook.cancelled.wait()
    await echo.stop()
    await until_ended(asyncio.all_tasks() - before)
    await until_both_sides_ended(echo)
    # OpenTelemetry does not count a cancellation by the caller as an error of the server.
    assert [span.status.status_code for span in echo.spans()] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [(span.attributes or {})["rpc.status_code"] for span in echo.spans()] == ["CANCELLED", "CANCELLED"]
    assert [line["code"] for line in logs if line["event"] == "call"] == ["CANCELLED"]
    assert [line for line in logs if line["log_level"] == "error"] == []


async def test_a_stream_cancelled_between_answers_ends_its_handler(echo: EchoServer) -> None:
    """Cancelling a stream between two answers ends its handler, although the handler is not waiting."""
    call = echo.stub().EchoMany(echo_pb2.EchoManyRequest(text="x" * 100_000, repeat=1000))
    answers = aiter(call)
    await anext(answers)

    call.cancel()
    await echo.stop()

    await until_both_sides_ended(echo)
    assert echo.servicer.entered < 1000
    assert [(span.attributes or {})["rpc.status_code"] for span in echo.spans()] == ["CANCELLED", "CANCELLED"]


async def test_a_cancellation_reaches_every_hop(serve_echo: ServeEcho) -> None:
    """Cancelling a call also cancels the call that its handler makes to another service."""
    front, back = await serve_echo(), await serve_echo()
    hook = back.servicer.hook = Endless()
    stub = back.stub()

    async def call_back() -> None:
        await stub.Echo(HI)

    front.servicer.hook = call_back
    call: Any = front.stub().Echo(HI)
    waiting = asyncio.create_task(wait_for_end(call))
    await hook.entered.wait()

    call.cancel()
    await hook.cancelled.wait()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_cancelling_the_awaiting_task_cancels_the_call(echo: EchoServer) -> None:
    """Cancelling the task that awaits a call cancels the call's handler."""
    hook = echo.servicer.hook = Endless()
    waiting = asyncio.create_task(wait_for_end(echo.stub().Echo(HI)))
    await hook.entered.wait()

    waiting.cancel()

    await hook.cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def until_accepted(stub: EchoServiceAsyncStub) -> str:
    """Call until the server accepts a stream.

    Cancelled streams count against the limit of the connection for a while.
    """
    while True:
        try:
            return (await stub.Echo(HI)).text
        except Unavailable as rejected:
            assert "error code 7" in rejected.message  # noqa: PT017 - REFUSED_STREAM: nothing was processed


async def test_a_thousand_cancelled_calls_leave_no_task(echo: EchoServer) -> None:
    """After 1,000 cancelled calls no task is left, and the server still answers."""
    before = asyncio.all_tasks()
    stub = echo.stub()
    hook = echo.servicer.hook = Endless()
    calls: list[Any] = [stub.Echo(HI) for _ in range(1000)]
    waiting = asyncio.gather(*map(wait_for_end, calls), return_exceptions=True)
    await hook.entered.wait()

    for call in calls:
        call.cancel()

    assert {type(each) for each in await waiting} == {asyncio.CancelledError}
    hook.is_open.set()
    assert await until_accepted(stub) == "hi"
    assert current_context() is None
    await echo.stop()
    await until_ended(asyncio.all_tasks() - before)


class EarlyAnswerServicer(EchoServicer):
    """Servicer that answers the first request and reads no further."""

    async def EchoJoined(self, request_iterator: Any, context: Any) -> echo_pb2.EchoJoinedResponse:
        """Answer with the first text alone."""
        return echo_pb2.EchoJoinedResponse(text=(await anext(request_iterator)).text)

    async def EchoEach(self, request_iterator: Any, context: Any) -> AsyncIterator[echo_pb2.EchoEachResponse]:  # type: ignore[override]
        """Answer the first text alone."""
        yield echo_pb2.EchoEachResponse(text=(await anext(request_iterator)).text)


async def test_an_early_answer_ends_the_call_successfully(serve_echo: ServeEcho) -> None:
    """A server may end a call successfully while its client still writes. grpc.aio alone would report INTERNAL."""
    before = asyncio.all_tasks()
    echo = await serve_echo(EarlyAnswerServicer())
    stub = echo.stub()

    answers = [answer.text async for answer in stub.EchoEach(echo_pb2.EchoEachRequest(text="hi") for _ in range(2000))]
    joined = await stub.EchoJoined(echo_pb2.EchoJoinedRequest(text="hi") for _ in range(2000))
    await echo.stop()
    await until_ended(asyncio.all_tasks() - before)

    assert (answers, joined.text) == (["hi"], "hi")
    assert [span.status.is_ok for span in echo.spans()] == [True] * 4


async def until_both_sides_ended(echo: EchoServer) -> None:
    """Wait until the caller's span has ended too, which happens when gRPC's core has reset the stream."""
    await eventually(lambda: len(echo.spans()) == 2)
