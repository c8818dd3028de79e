from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from contracts.errors import Internal, SlotTaken, Unimplemented
from solo60.example.v1 import echo_pb2
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from structlog.typing import EventDict

    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
MANY = echo_pb2.EchoManyRequest(text="hi", repeat=3)


async def requests_of(*texts: str) -> AsyncIterator[echo_pb2.EchoEachRequest]:
    """Yield a message for each text."""
    for text in texts:
        yield echo_pb2.EchoEachRequest(text=text)


class OtherStylesServicer(EchoServicer):
    """Servicer with each streaming handler in the style that EchoServicer does not use."""

    async def EchoMany(self, request: Any, context: Any) -> None:  # type: ignore[override]
        """Write answers instead of yielding them."""
        for _ in range(request.repeat):
            await context.write(echo_pb2.EchoManyResponse(text=request.text))

    async def EchoJoined(self, request_iterator: Any, context: Any) -> echo_pb2.EchoJoinedResponse:
        """Read requests instead of iterating."""
        texts = []
        while (request := await context.read()) is not grpc.aio.EOF:
            texts.append(request.text)
        return echo_pb2.EchoJoinedResponse(text=" ".join(texts))

    async def EchoEach(self, request_iterator: Any, context: Any) -> AsyncIterator[echo_pb2.EchoEachResponse]:  # type: ignore[override]
        """Iterate and yield."""
        async for request in request_iterator:
            yield echo_pb2.EchoEachResponse(text=request.text)


@pytest.mark.parametrize("servicer", [EchoServicer, OtherStylesServicer])
async def test_every_style_of_handler_is_served(serve_echo: ServeEcho, servicer: type[EchoServicer]) -> None:
    """Handlers may be coroutines or async generators, and may iterate or read, and yield or write, as in grpc.aio."""
    stub = (await serve_echo(servicer())).stub()

    assert (await stub.Echo(HI)).text == "hi"
    assert [answer.text async for answer in stub.EchoMany(MANY)] == ["hi", "hi", "hi"]
    assert (
        await stub.EchoJoined(echo_pb2.EchoJoinedRequest(text=e.text) async for e in requests_of("a", "b"))
    ).text == "a b"
    assert [answer.text async for answer in stub.EchoEach(requests_of("a", "b"))] == ["a", "b"]
    assert [answer.text async for answer in stub.EchoMany(echo_pb2.EchoManyRequest(text="hi"))] == []
    assert [answer.text async for answer in stub.EchoEach(requests_of())] == []


@pytest.mark.parametrize("servicer", [EchoServicer, OtherStylesServicer])
async def test_a_stream_may_alternate_requests_and_answers(serve_echo: ServeEcho, servicer: type[EchoServicer]) -> None:
    """A caller may write and read by turns: each answer arrives before the next request is written."""
    call: Any = (await serve_echo(servicer())).stub().EchoEach()

    for text in ("a", "b", "c"):
        await call.write(echo_pb2.EchoEachRequest(text=text))
        assert (await call.read()).text == text
    await call.done_writing()

    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_generator_is_closed_by_its_own_task(serve_echo: ServeEcho) -> None:
    """A handler's async generator is closed before the caller gets an error, by the task that ran it.

    Transactions and context variables of the generator need that task.
    """

    class CleanupServicer(EchoServicer):
        tasks: tuple[object, ...] = ()

        async def EchoMany(self, request: Any, context: Any) -> AsyncIterator[echo_pb2.EchoManyResponse]:
            """Answer with an invalid response."""
            began = asyncio.current_task()
            try:
                yield echo_pb2.EchoManyResponse()
            finally:
                self.tasks = (began, asyncio.current_task())

    servicer = CleanupServicer()
    stub = (await serve_echo(servicer)).stub()

    with pytest.raises(Internal):
        _ = [answer async for answer in stub.EchoMany(MANY)]

    began, ended = servicer.tasks
    assert began is ended


class BlockingServicer(EchoServicer):
    """Servicer with handlers that are plain functions."""

    thread: int = 0

    def Echo(self, request: Any, context: Any) -> echo_pb2.EchoResponse:  # type: ignore[override]
        """Answer or raise an error."""
        self.thread = threading.get_ident()
        if request.text == "taken":
            raise SlotTaken
        return echo_pb2.EchoResponse(text=request.text)

    def EchoMany(self, request: Any, context: Any) -> Iterator[echo_pb2.EchoManyResponse]:  # type: ignore[override]
        """Yield without an event loop."""
        yield echo_pb2.EchoManyResponse(text=request.text)


async def test_a_plain_function_runs_in_another_thread(serve_echo: ServeEcho) -> None:
    """A handler that is a plain function runs in another thread, and its errors reach the caller."""
    servicer = BlockingServicer()
    stub = (await serve_echo(servicer)).stub()

    assert (await stub.Echo(HI)).text == "hi"
    assert servicer.thread != threading.get_ident()
    with pytest.raises(SlotTaken):
        await stub.Echo(echo_pb2.EchoRequest(text="taken"))


async def test_a_stream_requires_an_async_handler(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """A stream with a plain function as its handler is Internal, and the log states that the handler must be async."""
    stub = (await serve_echo(BlockingServicer())).stub()

    with pytest.raises(Internal):
        _ = [answer async for answer in stub.EchoMany(MANY)]

    assert "EchoMany serves a stream and must be async" in str([line.get("exception") for line in logs])


async def test_an_unimplemented_method_is_unimplemented(echo: EchoServer) -> None:
    """A method of the contract without a handler is Unimplemented, and the message names the method."""
    with pytest.raises(Unimplemented) as caught:
        await echo.stub().Promise(echo_pb2.PromiseRequest())

    assert "solo60.example.v1.EchoService/Promise" in caught.value.message


async def test_a_stream_handler_has_grpcs_context(serve_echo: ServeEcho) -> None:
    """A stream handler can use the peer and the initial metadata of its gRPC context."""

    class PeerServicer(EchoServicer):
        async def EchoMany(self, request: Any, context: Any) -> AsyncIterator[echo_pb2.EchoManyResponse]:
            """Send initial metadata and answer with the peer's address."""
            await context.send_initial_metadata((("greeting", "hello"),))
            yield echo_pb2.EchoManyResponse(text=context.peer())

    call: Any = (await serve_echo(PeerServicer())).stub().EchoMany(MANY)

    assert [answer.text.startswith("ipv4:127.0.0.1") async for answer in call] == [True]
    assert (await call.initial_metadata())["greeting"] == "hello"
