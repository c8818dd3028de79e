"""One suite for a fake server and a real servicer behind the real interceptors, so that they cannot drift apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from contracts.errors import (
    DeadlineExceeded,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    InvalidRequest,
    MessageTooLarge,
    ScopeMissing,
    SlotTaken,
    Unauthenticated,
    UnknownError,
)
from contracts.metadata import API_KEY, IDEMPOTENCY_KEY, REPLAYED
from interceptors.keys.keyring import Keyring, record_of_key
from solo60.common.v1.period_pb2 import Period
from solo60.example.v1 import echo_pb2 as pb
from tests.contracts.testing.echo_targets import (
    FIRST_KEY,
    LOST,
    LOST_STATUS,
    SCOPES,
    SLOW,
    TAKEN,
    RealEcho,
    Target,
    fake_of,
    script_like_the_real_one,
)
from tests.support.call_shapes import HI
from tests.support.echo_server import serve_echo
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.echo_server import ServeEcho

__all__ = ["serve_echo"]

KEY = ((IDEMPOTENCY_KEY, "key-17"),)


@pytest.fixture(params=["real", "fake"])
async def target(request: pytest.FixtureRequest, serve_echo: ServeEcho) -> AsyncIterator[Target]:
    """Serve the echo service for real, or as a fake."""
    target = Target()
    if request.param == "real":
        echo = await serve_echo(RealEcho(), deadline_factor=1.0)
        echo.keyring = Keyring([record_of_key(key, name, SCOPES[name]) for name, key in target.keys.items()])
        target.address = echo.address
        yield target
        await target.close()
        return
    async with fake_of(target) as fake:
        script_like_the_real_one(fake)
        target.address = fake.address
        yield target
        await target.close()


async def each_of(texts: Sequence[str], kind: type[Any]) -> AsyncIterator[Any]:
    """Yield a message for each text."""
    for text in texts:
        yield kind(text=text)


async def test_a_unary_call_is_answered(target: Target) -> None:
    """A valid call gets the servicer's answer."""
    assert (await (await target.stub()).Echo(HI)).text == "hi"


async def test_a_stream_of_answers_has_all_messages_and_an_end(target: Target) -> None:
    """A stream of answers ends after its last message."""
    stub = await target.stub()

    assert [each.text async for each in stub.EchoMany(pb.EchoManyRequest(text="hi", repeat=3))] == ["hi"] * 3


async def test_a_stream_of_requests_gets_one_answer(target: Target) -> None:
    """A stream of requests is read to its end, and then answered once."""
    stub = await target.stub()

    assert (await stub.EchoJoined(each_of(["a", "b"], pb.EchoJoinedRequest))).text == "a b"


async def test_a_conversation_is_answered_message_by_message(target: Target) -> None:
    """Each request of a bidirectional stream gets its answer before the next request is sent."""
    call = (await target.stub()).EchoEach()

    for text in ("a", "b"):
        await call.write(pb.EchoEachRequest(text=text))
        answer = await call.read()
        assert isinstance(answer, pb.EchoEachResponse)
        assert answer.text == text
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_an_error_of_the_contract_has_its_reason(target: Target) -> None:
    """A declared error arrives as its own class, with its status, message and a correlation id."""
    stub = await target.stub()

    with pytest.raises(SlotTaken) as caught:
        await stub.Echo(pb.EchoRequest(text=TAKEN))

    assert caught.value.code is grpc.StatusCode.ALREADY_EXISTS
    assert caught.value.message == SlotTaken.__doc__
    assert caught.value.correlation_id


async def test_a_status_without_a_reason_is_an_unknown_error(target: Target) -> None:
    """A status that a handler sets arrives unchanged."""
    stub = await target.stub()

    with pytest.raises(UnknownError) as caught:
        await stub.Echo(pb.EchoRequest(text=LOST))

    assert caught.value.code is LOST_STATUS


@pytest.mark.parametrize("caller", ["nobody", "reader"])
async def test_only_keys_with_the_scopes_are_admitted(target: Target, caller: str) -> None:
    """An unknown key is UNAUTHENTICATED, and a key without a scope of the method is SCOPE_MISSING."""
    stub = await target.stub(caller)

    expected = Unauthenticated if caller == "nobody" else ScopeMissing
    with pytest.raises(expected) as caught:
        await stub.Keep(pb.KeepRequest(text="hi"))

    assert caught.value.metadata == ({} if caller == "nobody" else {"scopes": "example.keep"})
    assert caught.value.message == (
        Unauthenticated.__doc__ if caller == "nobody" else "The key of reader lacks example.keep."
    )


INVALID = [
    (pb.EchoRequest(text=""), ["text"]),
    (pb.EchoRequest(text="\0"), ["text"]),
    (pb.EchoRequest(text="hi", email="ada@" + "x" * 70 + ".example"), ["email"]),
    (pb.EchoRequest(text="hi", email="ada"), ["email"]),
    (pb.EchoRequest(text="x" * 1001, period=Period()), ["text", "period.start_time", "period.end_time"]),
]


@pytest.mark.parametrize(("request_", "fields"), INVALID)
async def test_an_invalid_request_names_its_fields(target: Target, request_: pb.EchoRequest, fields: list[str]) -> None:
    """A request that breaks rules is rejected with the same violations."""
    stub = await target.stub()

    with pytest.raises(InvalidRequest) as caught:
        await stub.Echo(request_)

    assert fields_of(caught.value) == fields


async def test_an_invalid_message_of_a_stream_is_rejected(target: Target) -> None:
    """Each request of a stream is checked."""
    stub = await target.stub()

    with pytest.raises(InvalidRequest) as caught:
        await stub.EchoJoined(each_of(["a", ""], pb.EchoJoinedRequest))

    assert fields_of(caught.value) == ["text"]


async def test_a_malformed_request_is_rejected(target: Target) -> None:
    """Bytes that are no message of the request's type are an invalid request."""
    channel = grpc.aio.insecure_channel(target.address)
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/solo60.example.v1.EchoService/Echo", None, None
    )

    async with channel:
        error = await error_of(call(b"\xff", timeout=1, metadata=((API_KEY, target.keys["tester"]),)))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "The request is not a well-formed message of its type.",
    )


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    """Return the error of a call without interceptors."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_repeated_key_gets_the_first_answer(target: Target) -> None:
    """The same key with the same request repeats the first answer, marked; with another request it is rejected."""
    stub = await target.stub()

    first = stub.Keep(pb.KeepRequest(text="hi"), metadata=KEY)
    answers = [await first]
    repeated = stub.Keep(pb.KeepRequest(text="hi"), metadata=KEY)
    answers.append(await repeated)

    assert [answer.idempotency_key for answer in answers] == [FIRST_KEY] * 2
    assert [REPLAYED in dict(await call.trailing_metadata()) for call in (first, repeated)] == [False, True]
    with pytest.raises(IdempotencyKeyReused):
        await stub.Keep(pb.KeepRequest(text="other"), metadata=KEY)


@pytest.mark.parametrize("key", [None, "", "two words", "x" * 256])
async def test_a_method_with_effects_requires_a_key(target: Target, key: str | None) -> None:
    """A missing or malformed idempotency key is rejected with one sentence."""
    metadata = ((API_KEY, target.keys["tester"]), *(((IDEMPOTENCY_KEY, key),) if key is not None else ()))

    error = await error_of((await target.bare_stub()).Keep(pb.KeepRequest(text="hi"), timeout=1, metadata=metadata))

    assert error.code() is IdempotencyKeyMissing.code
    assert "requires metadata idempotency-key" in (error.details() or "")


async def test_metadata_is_limited(target: Target) -> None:
    """A call with more than 8 KiB of metadata is rejected."""
    metadata = ((API_KEY, target.keys["tester"]), ("x-note", "a" * 8192))

    error = await error_of((await target.bare_stub()).Echo(HI, timeout=1, metadata=metadata))

    # gRPC's core rejects most such calls before the chain, in other words.
    assert error.code() is MessageTooLarge.code


async def test_the_checks_have_the_order_of_the_interceptors(target: Target) -> None:
    """The key is checked before the scopes, the scopes before the idempotency key, and that key before the request."""
    stub = await target.bare_stub()
    nothing_right = pb.KeepRequest(text="")

    async def rejection(*metadata: tuple[str, str]) -> grpc.StatusCode:
        return (await error_of(stub.Keep(nothing_right, timeout=1, metadata=metadata))).code()

    assert await rejection() is Unauthenticated.code
    assert await rejection((API_KEY, target.keys["reader"])) is ScopeMissing.code
    assert await rejection((API_KEY, target.keys["tester"])) is IdempotencyKeyMissing.code
    assert await rejection((API_KEY, target.keys["tester"]), *KEY) is InvalidRequest.code


async def test_no_call_lasts_longer_than_the_contract_allows(target: Target) -> None:
    """A call with a longer deadline than the contract's ends at the contract's."""
    key = ((API_KEY, target.keys["tester"]),)

    error = await error_of((await target.bare_stub()).Echo(pb.EchoRequest(text=SLOW), timeout=30, metadata=key))

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.details() == "solo60.example.v1.EchoService/Echo did not finish in 2 s."


async def test_the_callers_own_deadline_ends_a_call(target: Target) -> None:
    """A call ends at the caller's deadline if that is sooner."""
    stub = await target.stub()

    with pytest.raises(DeadlineExceeded):
        await stub.Echo(pb.EchoRequest(text=SLOW), timeout=0.2)
