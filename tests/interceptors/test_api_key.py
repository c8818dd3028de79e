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
from interceptors.keyring import Keyring, mint_key, record_of_key
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
@pytest.mark.parametrize("key", BAD_KEYS, ids=["none", "noise", "stump", "not ours", "typo", "not ASCII"])
async def test_a_call_without_a_key_of_ours_is_unauthenticated(echo: EchoServer, key: str) -> None:
    """Whoever calls must hold a key; which part of it was wrong is not told."""
    metadata = (("x-api-key", key),) if key.isascii() and key else ()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _echo(echo)(HI.SerializeToString(), metadata=metadata)

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "The call carries no valid service API key."
    assert echo.servicer.entered == 0


async def test_the_unauthenticated_are_refused_before_their_bytes_are_parsed(echo: EchoServer) -> None:
    """A stranger cannot make us parse: garbage without a key is UNAUTHENTICATED, not INVALID_ARGUMENT."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _echo(echo)(b"\xff\xff")

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("method", ["Echo", "EchoMany", "EchoJoined", "EchoEach", "Keep", "Promise"])
async def test_every_method_asks_for_a_key(echo: EchoServer, method: str) -> None:
    """In every shape, also where no service answers yet."""
    # A failed write would make grpc.aio replace the status of a refusal by an INTERNAL of its own.
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
async def test_a_key_opens_nothing_outside_of_its_time(echo: EchoServer, change: dict[str, Any]) -> None:
    """Expiry, start and revocation hold on the next call."""
    stub = echo.stub()
    assert (await stub.Echo(HI)).caller == "tester"

    echo.keyring = Keyring(replace(record, **change) for record in echo.keyring)

    with pytest.raises(Unauthenticated):
        await stub.Echo(HI)


@pytest.mark.requirement("S2")
async def test_a_caller_may_hold_several_keys(echo: EchoServer) -> None:
    """While a key is rotated, old and new both open."""
    new = mint_key("test")
    echo.keyring = Keyring([*echo.keyring, record_of_key(new, "tester", SCOPES)])

    for key in (echo.key, new):
        assert (await echo.stub(key).Echo(HI)).caller == "tester"


@pytest.mark.requirement("S1")
async def test_a_key_without_the_methods_scope_is_denied(echo: EchoServer) -> None:
    """A key opens what its scopes name; the caller is told which one it lacks."""
    key = mint_key("test")
    echo.keyring = Keyring([record_of_key(key, "reader", ["example.echo"])])
    stub = echo.stub(key)

    assert (await stub.Echo(HI)).caller == "reader"
    with pytest.raises(ScopeMissing) as caught:
        await stub.Keep(echo_pb2.KeepRequest(text="hi"))

    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.metadata == {"scopes": "example.keep"}
    assert caught.value.message == "The key of reader lacks example.keep."


@pytest.mark.parametrize("health_open", [True, False])
async def test_health_asks_for_a_key_where_settings_say_so(serve_echo: ServeEcho, health_open: bool) -> None:  # noqa: FBT001 - a test's parameter
    """GRPC's own health checking sends no key, so health is open unless it is closed."""
    echo = await serve_echo(health_open=health_open)
    stub: Any = HealthStub(echo.bare_channel())

    assert await stub.Check(health_pb2.HealthCheckRequest()).code() is (
        grpc.StatusCode.OK if health_open else grpc.StatusCode.UNAUTHENTICATED
    )


@pytest.mark.parametrize("reflection_open", [True, False])
async def test_reflection_asks_for_a_key_unless_settings_open_it(serve_echo: ServeEcho, reflection_open: bool) -> None:  # noqa: FBT001 - a test's parameter
    """What the services look like is told to those who hold a key, unless a developer opens it."""
    echo = await serve_echo(reflection_open=reflection_open)
    channel: Any = echo.bare_channel()
    # One request, because a failed write would make grpc.aio replace the status of a refusal by an INTERNAL of its own.
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


async def test_a_closed_service_opens_to_a_key_with_its_scope(serve_echo: ServeEcho) -> None:
    """An operator's key carries mesh.inspect; another service's does not."""
    echo = await serve_echo(health_open=False)
    operator = mint_key("test")
    echo.keyring = Keyring([*echo.keyring, record_of_key(operator, "operator", ["mesh.inspect"])])

    stub: Any = HealthStub(echo.channel(operator))
    await stub.Check(health_pb2.HealthCheckRequest())
    other: Any = HealthStub(echo.channel())
    with pytest.raises(ScopeMissing):
        await other.Check(health_pb2.HealthCheckRequest())


def _echo(echo: EchoServer) -> Any:  # noqa: ANN401 - a call that takes bytes as they are
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
async def test_the_log_says_which_key_is_refused_and_why(
    echo: EchoServer, logs: list[EventDict], change: dict[str, Any] | None, cause: str
) -> None:
    """The operator reads id, caller and cause; the caller gets one answer, whatever the cause."""
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


async def test_the_last_use_of_a_key_is_known_without_a_note_on_each_call(echo: EchoServer) -> None:
    """Each key that was shown since the uses were last taken is among them, also after the keyring was read anew."""
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
