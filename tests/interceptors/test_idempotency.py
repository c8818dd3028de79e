from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from contracts.errors import IdempotencyKeyMissing, ServiceError
from contracts.method import find_method
from contracts.status import error_of_call
from interceptors.chain.call import Call
from interceptors.context import current_context
from interceptors.idempotency import IDEMPOTENCY_KEY, ServerIdempotencyKey
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer

KEEP = echo_pb2.KeepRequest(text="hi")


@pytest.mark.requirement("S6")
async def test_each_call_has_its_own_key(echo: EchoServer) -> None:
    """The client adds a new idempotency key to each call of a method that requires one."""
    stub = echo.stub()

    keys = {(await stub.Keep(KEEP)).idempotency_key for _ in range(3)}

    assert len(keys) == 3
    assert all(len(key) == 36 for key in keys)


@pytest.mark.requirement("S6")
async def test_a_caller_may_send_its_own_key(echo: EchoServer) -> None:
    """The caller's own idempotency key is sent, so that the callee recognises a repeated call."""
    answer = await echo.stub().Keep(KEEP, metadata=(("idempotency-key", "charge-session-7"),))

    assert answer.idempotency_key == "charge-session-7"


@pytest.mark.parametrize("key", ["nul\x00", "line\nbreak", "line\n", "\x7f", "clé", "😀", "x" * 254 + "😀"])
async def test_a_key_that_grpc_cannot_send_is_rejected(key: str) -> None:
    """Keys with invisible or non-ASCII characters are rejected.

    gRPC's core does not accept such metadata, but another engine might.
    """
    call = Call(find_method("/solo60.example.v1.EchoService/Keep"), cast("Any", None), {IDEMPOTENCY_KEY: key}, b"")

    async def proceed(_call: Call) -> bytes:
        raise AssertionError("the handler was reached")

    with pytest.raises(IdempotencyKeyMissing):
        await ServerIdempotencyKey().intercept(call, proceed)


@pytest.mark.parametrize("key", [None, "", "with blank", "x" * 256])
async def test_a_call_without_a_well_formed_key_is_rejected(echo: EchoServer, key: str | None) -> None:
    """A missing or malformed key raises IdempotencyKeyMissing before the handler."""
    stub = EchoServiceStub(echo.bare_channel())
    own = () if key is None else (("idempotency-key", key),)

    with pytest.raises(Exception) as caught:  # noqa: PT011 - the type is checked below
        await stub.Keep(KEEP, metadata=(("x-api-key", echo.key), *own))

    assert type(_typed(caught.value)) is IdempotencyKeyMissing
    assert echo.servicer.entered == 0


async def test_a_key_of_the_maximum_length_passes(echo: EchoServer) -> None:
    """A key of 255 visible characters is accepted."""
    key = "~" * 255

    assert (await echo.stub().Keep(KEEP, metadata=(("idempotency-key", key),))).idempotency_key == key


@pytest.mark.requirement("S6")
async def test_a_key_is_ignored_if_the_contract_requires_none(echo: EchoServer) -> None:
    """A handler does not see the key of a call if its contract does not require one."""
    seen: list[str] = []

    async def hook() -> None:
        context = current_context()
        seen.append(context.idempotency_key if context else "no context")

    echo.servicer.hook = hook
    await echo.stub().Echo(echo_pb2.EchoRequest(text="hi"), metadata=(("idempotency-key", "x"),))

    assert seen == [""]


def _typed(error: Any) -> ServiceError:
    return error_of_call(error, "")
