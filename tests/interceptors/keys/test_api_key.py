from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2

from contracts.errors import ScopeMissing, Unauthenticated
from interceptors.keys.keyring import Keyring, mint_key, record_of_key
from solo60.example.v1 import echo_pb2
from tests.support.echo import SCOPES

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
BAD_KEYS = ["", "x", "sk_test_", mint_key("test"), mint_key("test")[:-1] + "!", "sk_test_" + "é" * 10]


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("key", BAD_KEYS, ids=["empty", "random text", "prefix alone", "unknown", "typo", "not ASCII"])
async def test_a_call_without_a_valid_key_is_unauthenticated(echo: EchoServer, key: str) -> None:
    """A call without a valid key is UNAUTHENTICATED with one fixed message and enters no handler."""
    metadata = (("x-api-key", key),) if key.isascii() and key else ()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _echo(echo)(HI.SerializeToString(), metadata=metadata)

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "The call carries no valid service API key."
    assert echo.servicer.entered == 0


async def test_an_unauthenticated_request_is_not_parsed(echo: EchoServer) -> None:
    """A malformed request without a key is UNAUTHENTICATED, not INVALID_ARGUMENT, because it is not parsed."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _echo(echo)(b"\xff\xff")

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("method", ["Echo", "EchoMany", "EchoJoined", "EchoEach", "Keep", "Promise"])
async def test_every_method_requires_a_key(echo: EchoServer, method: str) -> None:
    """A method of any shape requires a key, even a method that is not implemented."""
    # unary_stream needs no separate write. After a failed write, grpc.aio replaces the status by INTERNAL.
    call: Any = echo.bare_channel().unary_stream(f"/solo60.example.v1.EchoService/{method}")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call(b""):
            pass

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.requirement("S2")
@pytest.mark.parametrize(
    "change",
    [
        {"not_after": NOW - HOUR},
        {"not_before": NOW + HOUR},
        {"revoked": True},
        {"sha256": "0" * 64},
    ],
    ids=["expired", "not yet valid", "revoked", "another secret"],
)
async def test_an_expired_or_revoked_key_is_rejected(echo: EchoServer, change: dict[str, Any]) -> None:
    """Expiry, a later start, revocation and a changed secret of a key take effect on the next call."""
    stub = echo.stub()
    assert (await stub.Echo(HI)).key_owner == "tester"

    echo.keyring = Keyring(replace(record, **change) for record in echo.keyring)

    with pytest.raises(Unauthenticated):
        await stub.Echo(HI)


@pytest.mark.requirement("S2")
async def test_a_caller_may_hold_several_keys(echo: EchoServer) -> None:
    """The old and the new key of a caller are both accepted during a rotation."""
    new = mint_key("test")
    echo.keyring = Keyring([*echo.keyring, record_of_key(new, "tester", SCOPES)])

    for key in (echo.key, new):
        assert (await echo.stub(key).Echo(HI)).key_owner == "tester"


@pytest.mark.requirement("S1")
async def test_a_key_without_the_methods_scope_is_denied(echo: EchoServer) -> None:
    """A key without a method's scope gets PERMISSION_DENIED, and the error names the missing scope."""
    key = mint_key("test")
    echo.keyring = Keyring([record_of_key(key, "reader", ["example.echo"])])
    stub = echo.stub(key)

    assert (await stub.Echo(HI)).key_owner == "reader"
    with pytest.raises(ScopeMissing) as caught:
        await stub.Keep(echo_pb2.KeepRequest(text="hi"))

    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.metadata == {"scopes": "example.keep"}
    assert caught.value.message == "The key of reader lacks example.keep."


@pytest.mark.parametrize("health_open", [True, False])
async def test_health_requires_a_key_unless_open(serve_echo: ServeEcho, health_open: bool) -> None:  # noqa: FBT001 - a test's parameter
    """The health service requires a key only if health_open is off, because gRPC's own health checks send no key."""
    echo = await serve_echo(health_open=health_open)
    stub: Any = HealthStub(echo.bare_channel())

    assert await stub.Check(health_pb2.HealthCheckRequest()).code() is (
        grpc.StatusCode.OK if health_open else grpc.StatusCode.UNAUTHENTICATED
    )


@pytest.mark.parametrize("reflection_open", [True, False])
async def test_reflection_requires_a_key_unless_open(serve_echo: ServeEcho, reflection_open: bool) -> None:  # noqa: FBT001 - a test's parameter
    """The reflection service requires a key unless reflection_open is on."""
    echo = await serve_echo(reflection_open=reflection_open)
    channel: Any = echo.bare_channel()
    # unary_stream needs no separate write. After a failed write, grpc.aio replaces the status by INTERNAL.
    listing = channel.unary_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = listing(reflection_pb2.ServerReflectionRequest(list_services=""))

    if reflection_open:
        assert [len(answer.list_services_response.service) async for answer in call] == [3]
    else:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_closed_health_service_requires_mesh_inspect(serve_echo: ServeEcho) -> None:
    """A closed health service accepts a key with the scope mesh.inspect and rejects other keys."""
    echo = await serve_echo(health_open=False)
    operator = mint_key("test")
    echo.keyring = Keyring([*echo.keyring, record_of_key(operator, "operator", ["mesh.inspect"])])

    stub: Any = HealthStub(echo.channel(operator))
    await stub.Check(health_pb2.HealthCheckRequest())
    other: Any = HealthStub(echo.channel())
    with pytest.raises(ScopeMissing):
        await other.Check(health_pb2.HealthCheckRequest())


def _echo(echo: EchoServer) -> Any:
    return echo.bare_channel().unary_unary("/solo60.example.v1.EchoService/Echo")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"not_after": NOW - HOUR}, "expired"),
        ({"not_before": NOW + HOUR}, "not yet valid"),
        ({"revoked": True}, "revoked"),
        ({"sha256": "0" * 64}, "wrong secret"),
        (None, "unknown"),
    ],
)
async def test_the_log_names_a_rejected_key_and_its_cause(
    echo: EchoServer, logs: list[EventDict], change: dict[str, Any] | None, cause: str
) -> None:
    """The log names id and cause of a rejected key, and its caller if the secret was right.

    The caller gets the same answer for every cause.
    """
    [record] = echo.keyring
    echo.keyring = Keyring([] if change is None else [replace(record, **change)])
    is_proven = cause not in ("wrong secret", "unknown")

    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            await echo.stub().Echo(HI)
        assert caught.value.message == "The call carries no valid service API key."
        assert caught.value.metadata == {}

    for line in (line for line in logs if line["event"] == "call"):
        assert (line["refused_key"], line["refused_because"]) == (record.key_id, cause)
        assert line["refused_caller"] == ("tester" if is_proven else "")
        assert line["caller"] == ""


async def test_take_uses_returns_each_used_key(echo: EchoServer) -> None:
    """take_uses() returns each key used since its last call, also after the keyring was reloaded."""
    [record] = echo.keyring
    stub = echo.stub()
    for _ in range(2):
        await stub.Echo(HI)
        await stub.Echo(HI)
        assert list(echo.keyring.take_uses()) == [record.key_id]
        assert echo.keyring.take_uses() == {}
    await stub.Echo(HI)
    echo.keyring = Keyring(echo.keyring)
    await stub.Echo(HI)
    assert list(echo.keyring.take_uses()) == [record.key_id]
