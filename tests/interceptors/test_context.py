from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from contracts.metadata import CORRELATION_ID
from contracts.status import error_of_call
from interceptors.context import CallContext, correlation_id_in, current_context, detached_work
from interceptors.keys.interceptor import API_KEY
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")


def record_contexts(echo: EchoServer) -> list[CallContext]:
    """Make every handler of `echo` record its call context."""
    seen: list[CallContext] = []

    async def hook() -> None:
        context = current_context()
        assert context is not None
        seen.append(context)

    echo.servicer.hook = hook
    return seen


def forward_calls(front: EchoServer, back: EchoServer) -> None:
    """Make every handler of `front` call `back`."""
    stub = back.stub()

    async def hook() -> None:
        await stub.Echo(HI)

    front.servicer.hook = hook


@pytest.mark.requirement("L2")
async def test_the_correlation_id_reaches_every_hop(serve_echo: ServeEcho) -> None:
    """All calls made for one request carry the same correlation id, from the first service to the last."""
    front, middle, back = await serve_echo(), await serve_echo(), await serve_echo()
    forward_calls(front, middle)
    forward_calls(middle, back)
    seen = record_contexts(back)

    answer = await front.stub().Echo(HI)

    assert [context.correlation_id for context in seen] == [answer.correlation_id]


async def test_two_requests_have_two_correlation_ids(echo: EchoServer) -> None:
    """Two requests get different correlation ids."""
    stub = echo.stub()

    assert (await stub.Echo(HI)).correlation_id != (await stub.Echo(HI)).correlation_id


@pytest.mark.parametrize("sent", ["", "short", "x" * 65, "with blank in it", "new{line}: {1}", 'quote"quote"'])
async def test_a_hostile_correlation_id_is_replaced(echo: EchoServer, sent: str) -> None:
    """A correlation id that is not 8 to 64 plain characters is replaced, because it would be written to log lines."""
    used = await correlation_id_of(echo, sent)

    assert used != sent
    assert len(used) == 32


@pytest.mark.parametrize("character", ["\n", " ", ".", "é", "１"])  # noqa: RUF001 - a digit outside of ASCII
def test_a_correlation_id_has_only_ascii_characters(character: str) -> None:
    """An id with another letter, digit or white space is replaced, even if it is as long as our own ids."""
    sent = "x" * 31 + character

    assert correlation_id_in({CORRELATION_ID: sent}) != sent


@pytest.mark.parametrize("sent", ["0123456789abcdef" * 2, "A-z_" * 8])
def test_a_correlation_id_of_our_own_length_is_used(sent: str) -> None:
    """A valid correlation id of 32 characters is used, with and without "_" and "-"."""
    assert correlation_id_in({CORRELATION_ID: sent}) == sent


async def test_a_valid_correlation_id_is_used_and_returned(echo: EchoServer) -> None:
    """A valid correlation id of a caller is used and returned."""
    assert await correlation_id_of(echo, "order-2026_17") == "order-2026_17"


async def test_the_user_id_reaches_every_hop(serve_echo: ServeEcho) -> None:
    """The user id of a call reaches every further service, unless it is malformed."""
    front, back = await serve_echo(), await serve_echo()
    forward_calls(front, back)
    seen = record_contexts(back)

    await front.stub().Echo(HI, metadata=(("x-user-id", "user-7"),))
    await front.stub().Echo(HI, metadata=(("x-user-id", "user 7; drop table"),))

    assert [context.user_id for context in seen] == ["user-7", ""]


async def test_concurrent_streams_have_separate_contexts(echo: EchoServer) -> None:
    """Concurrent streams never see each other's context."""
    seen = record_contexts(echo)

    async def requests() -> AsyncIterator[echo_pb2.EchoEachRequest]:
        yield echo_pb2.EchoEachRequest(text="hi")

    async def one(number: int) -> None:
        stub = echo.stub()
        metadata = (("x-user-id", f"user-{number}"),)
        assert [each.text async for each in stub.EchoEach(requests(), metadata=metadata)] == ["hi"]
        many = stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=2), metadata=metadata)
        assert [each.text async for each in many] == ["hi", "hi"]

    await asyncio.gather(*(one(number) for number in range(10)))

    assert sorted(context.user_id for context in seen) == sorted(f"user-{n}" for n in range(10) for _ in range(3))


@pytest.mark.requirement("L3")
async def test_detached_work_has_its_own_context(echo: EchoServer) -> None:
    """Calls of detached work carry its own correlation id and user, also if detached work is nested."""
    seen = record_contexts(echo)
    stub = echo.stub()

    with detached_work("order-2026_17") as context:
        context.user_id = "user-7"
        with detached_work("order-2026_18"):
            await stub.Echo(HI)
        await stub.Echo(HI)

    assert current_context() is None
    assert [(each.correlation_id, each.user_id) for each in seen] == [
        ("order-2026_18", ""),
        ("order-2026_17", "user-7"),
    ]


def test_detached_work_gets_a_new_correlation_id() -> None:
    """Detached work without a given correlation id gets a new one, so that its log lines can be found."""
    with detached_work() as first, detached_work() as second:
        assert len({first.correlation_id, second.correlation_id}) == 2


async def correlation_id_of(echo: EchoServer, sent: str) -> str:
    """Call with this correlation id without the client chain, and return the id that was used and returned."""
    call = echo.bare_channel().unary_unary(
        "/solo60.example.v1.EchoService/Echo",
        request_serializer=echo_pb2.EchoRequest.SerializeToString,
        response_deserializer=echo_pb2.EchoResponse.FromString,
    )(HI, metadata=(("x-api-key", echo.key), ("x-correlation-id", sent)))
    answer = await call
    trailing = await call.trailing_metadata()
    assert trailing["x-correlation-id"] == answer.correlation_id
    return answer.correlation_id


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_a_stream_sends_its_correlation_id_first(serve_echo: ServeEcho, engine: str) -> None:
    """A stream sends its correlation id in the initial metadata, whether the handler yields or writes."""
    echo = await serve_echo(engine=engine)
    stub: Any = EchoServiceStub(echo.bare_channel())
    metadata = ((API_KEY, echo.key), (CORRELATION_ID, "order-2026_17"))

    many: Any = stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=2), metadata=metadata)
    each: Any = stub.EchoEach(metadata=metadata)
    await each.write(echo_pb2.EchoEachRequest(text="hi"))
    answers = [await many.read(), await each.read()]

    assert [answer.text for answer in answers] == ["hi", "hi"]
    for call in (many, each):
        assert (await call.initial_metadata()).get_all(CORRELATION_ID) == ["order-2026_17"]
        call.cancel()


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_a_handlers_initial_metadata_includes_the_correlation_id(serve_echo: ServeEcho, engine: str) -> None:
    """The correlation id is added to the initial metadata that a handler sends, because gRPC sends it only once."""

    class InitialMetadataServicer(EchoServicer):
        async def EchoMany(self, request: Any, context: Any) -> AsyncIterator[echo_pb2.EchoManyResponse]:
            await context.send_initial_metadata((("greeting", "hello"),))
            yield echo_pb2.EchoManyResponse(text=request.text)

    stub = (await serve_echo(InitialMetadataServicer(), engine=engine)).stub()
    call: Any = stub.EchoMany(echo_pb2.EchoManyRequest(text="hi"))

    assert [answer.text async for answer in call] == ["hi"]
    initial = await call.initial_metadata()
    assert initial["greeting"] == "hello"
    assert initial[CORRELATION_ID] == (await call.trailing_metadata())[CORRELATION_ID]


@pytest.mark.parametrize("engine", ["grpcio", "native"])
@pytest.mark.parametrize("method", ["solo60.example.v1.EchoService/Nothing", "acme.Unknown/Call"])
async def test_an_unserved_method_is_answered_with_a_correlation_id(
    serve_echo: ServeEcho, engine: str, method: str
) -> None:
    """The UNIMPLEMENTED answer for an unserved method carries the caller's correlation id, or a new one."""
    call: Any = (await serve_echo(engine=engine)).bare_channel().unary_unary(f"/{method}")

    with pytest.raises(grpc.aio.AioRpcError) as brought:
        await call(b"", metadata=((CORRELATION_ID, "order-2026_17"),))
    with pytest.raises(grpc.aio.AioRpcError) as made:
        await call(b"")

    assert [each.value.code() for each in (brought, made)] == [grpc.StatusCode.UNIMPLEMENTED] * 2
    assert brought.value.trailing_metadata()[CORRELATION_ID] == "order-2026_17"
    assert error_of_call(made.value, method).correlation_id == made.value.trailing_metadata()[CORRELATION_ID]
