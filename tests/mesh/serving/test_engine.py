from __future__ import annotations

import asyncio
import math
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from contracts.method import methods_of
from contracts.services import SERVICES
from interceptors.errors.interceptor import ServerErrors
from mesh.config import SettingsError, load_settings
from mesh.serving import engine
from mesh.serving.channel import KEEPALIVE_INTERVAL_MS
from mesh.serving.engine import RunningCalls, listen, new_server
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.echo_call import PlainEchoServicer
from tests.support.echo_server import Endless
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.engine import Engine, Options


HI = echo_pb2.EchoRequest(text="hi")
ENGINES: tuple[Engine, ...] = ("grpcio", "native")
# Options of a client that may exceed the mesh's limits, on its own connection.
UNLIMITED = (
    ("grpc.max_metadata_size", 1024 * 1024),
    ("grpc.absolute_max_metadata_size", 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
)
both_engines = pytest.mark.parametrize("name", ENGINES)


class HoldingServicer(PlainEchoServicer):
    """Echo servicer that waits for its hook and counts its calls."""

    def __init__(self) -> None:
        self.entered = 0
        self.hook = Endless()
        self.address = ""

    async def EchoJoined(self, request_iterator: Any, context: Any) -> Any:
        """Return all texts in one answer."""
        return echo_pb2.EchoJoinedResponse(text=" ".join([request.text async for request in request_iterator]))

    async def Echo(self, request: Any, context: Any) -> Any:
        """Count the call, wait for the hook, and return the text."""
        self.entered += 1
        await self.hook()
        return await super().Echo(request, context)

    def channel(self) -> grpc.aio.Channel:
        """Open a channel with a new connection."""
        return grpc.aio.insecure_channel(self.address, UNLIMITED)


@asynccontextmanager
async def served(name: Engine, options: Options = (), *, held: bool = False) -> AsyncIterator[HoldingServicer]:
    """Serve on an engine; `held` calls wait for `hook.is_open`."""
    servicer = HoldingServicer()  # type: ignore[abstract]  # only the methods that these tests call
    if not held:
        servicer.hook.is_open.set()
    server = new_server(name, [ServerErrors()], options=options)
    add_EchoServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{listen(server, '127.0.0.1:0')}"
    await server.start()
    try:
        yield servicer
    finally:
        await server.stop(0)


async def outcome_of(call: Any) -> grpc.StatusCode:
    """Wait for the end of a call and return its code."""
    code: grpc.StatusCode = await call.code()
    return code


@pytest.mark.requirement("L1")
def test_an_unknown_engine_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown value of ENGINE is rejected with the list of engines."""
    monkeypatch.setenv("ENGINE", "nativ")
    with pytest.raises(SettingsError, match=r"^ENGINE: must be 'grpcio' or 'native'\.$"):
        load_settings()


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("grpc.max_connection_age_ms", "ENGINE: native cannot set grpc.max_connection_age_ms"),
        ("grpc.server_handshake_timeout_ms", "ENGINE: native cannot set grpc.server_handshake_timeout_ms"),
        ("grpc.http2.max_ping_strikes", "ENGINE: native cannot set grpc.http2.max_ping_strikes"),
        (
            "grpc.default_compression_level",
            "ENGINE: native cannot be started: unsupported server option 'grpc.default_compression_level'",
        ),
    ],
)
def test_options_unsupported_by_the_native_engine_are_rejected(option: str, sentence: str) -> None:
    """The native engine rejects a server option that it does not support and suggests ENGINE=grpcio."""
    with pytest.raises(SettingsError) as caught:
        new_server("native", options=[(option, 2)])

    assert str(caught.value) == f"{sentence}; use ENGINE=grpcio."


async def test_the_native_engine_rejects_tls() -> None:
    """The native engine rejects TLS credentials instead of opening an unencrypted port."""
    credentials = grpc.ssl_server_credentials([(b"key", b"certificate")])

    with pytest.raises(SettingsError) as caught:
        listen(new_server("native"), "127.0.0.1:0", credentials)

    assert str(caught.value) == "ENGINE: native cannot serve TLS; use ENGINE=grpcio."


def test_the_native_engine_without_its_package_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENGINE=native is rejected if the package pygrpc-native is not installed."""
    monkeypatch.setitem(sys.modules, "pygrpc_native.aio", None)

    with pytest.raises(SettingsError, match=r"^ENGINE: native needs the package pygrpc-native, which is not inst"):
        new_server("native")


@both_engines
async def test_the_largest_request_is_one_mebibyte(name: Engine) -> None:
    """A request up to 1 MiB is accepted. A larger one is RESOURCE_EXHAUSTED, in unary and in streaming calls."""
    just_right = engine.REQUEST_BYTES - 10
    async with served(name) as servicer, servicer.channel() as channel:
        stub = EchoServiceStub(channel)
        sizes = (just_right, engine.REQUEST_BYTES)
        codes = [await outcome_of(stub.Echo(echo_pb2.EchoRequest(text="a" * size))) for size in sizes]
        requests = iter([echo_pb2.EchoJoinedRequest(text="a" * engine.REQUEST_BYTES)])
        codes.append(await outcome_of(stub.EchoJoined(requests)))

    assert codes == [grpc.StatusCode.OK, *[grpc.StatusCode.RESOURCE_EXHAUSTED] * 2]


@both_engines
@pytest.mark.parametrize(("size", "fits"), [(7_000, True), (8_200, False), (9_000, False), (15_000, False)])
async def test_metadata_above_the_limit_is_always_rejected(name: Engine, size: int, fits: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Metadata above 8 KiB is always rejected, and metadata below it never.

    By default, gRPC's core decides at random between 8 and 16 KiB.
    """
    metadata = (("x-large", "a" * size),)
    async with served(name) as servicer, servicer.channel() as channel:
        stub = EchoServiceStub(channel)
        codes = {await outcome_of(stub.Echo(HI, metadata=metadata)) for _ in range(4)}

    # The native engine answers with HTTP status 431, which has no gRPC code of its own.
    refusal = {"grpcio": grpc.StatusCode.RESOURCE_EXHAUSTED, "native": grpc.StatusCode.UNKNOWN}[name]
    assert codes == {grpc.StatusCode.OK if fits else refusal}


@both_engines
async def test_concurrent_calls_per_connection_are_limited(name: Engine) -> None:
    """A call above the limit of concurrent calls waits. Calls on other connections do not."""
    limit = engine.STREAMS_PER_CONNECTION
    async with served(name, held=True) as servicer, servicer.channel() as crowded, servicer.channel() as other:
        calls = [EchoServiceStub(crowded).Echo(HI) for _ in range(limit + 1)]
        await eventually(lambda: servicer.entered >= limit)
        calls.append(EchoServiceStub(other).Echo(HI))
        await eventually(lambda: servicer.entered > limit)
        assert (await EchoServiceStub(other).EchoLimited(echo_pb2.EchoLimitedRequest(text="hi"))).text == "hi"

        assert servicer.entered == limit + 1

        servicer.hook.is_open.set()
        assert {await outcome_of(call) for call in calls} == {grpc.StatusCode.OK}


async def test_the_native_engine_gets_time_to_write_its_last_answers() -> None:
    """`RunningCalls.drain` rejects new calls and waits until running calls have answered.

    The native engine closes its connections when the last call ends, even if its answer is not written yet.
    """
    calls = RunningCalls()
    servicer = HoldingServicer()  # type: ignore[abstract]  # only the methods that these tests call
    server = new_server("native", [calls])
    add_EchoServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{listen(server, '127.0.0.1:0')}"
    await server.start()
    async with servicer.channel() as channel:
        running_call = EchoServiceStub(channel).Echo(HI)
        await servicer.hook.entered.wait()
        ending = asyncio.create_task(calls.drain(60))
        late = await outcome_of(EchoServiceStub(channel).Echo(HI))
        assert not ending.done()

        servicer.hook.is_open.set()

        assert await outcome_of(running_call) is grpc.StatusCode.OK
        assert 0 < await ending < 60
        assert late is grpc.StatusCode.UNAVAILABLE
    await server.stop(0)


async def test_no_call_fails_when_connections_reach_their_maximum_age() -> None:
    """No call fails while connections reach their maximum age several times under load."""
    options = (("grpc.max_connection_age_ms", 100),)
    async with served("grpcio", options) as servicer, servicer.channel() as channel:
        stub = EchoServiceStub(channel)

        async def call_for_a_second() -> list[grpc.StatusCode]:
            codes = []
            async with asyncio.timeout(60):
                for _ in range(50):
                    codes.append(await outcome_of(stub.Echo(HI)))
                    await asyncio.sleep(0.02)
            return codes

        codes = await asyncio.gather(*(call_for_a_second() for _ in range(4)))

    assert {code for each in codes for code in each} == {grpc.StatusCode.OK}


def test_old_connections_outlast_the_longest_deadline() -> None:
    """The grace of an old connection is at least the longest deadline of any method."""
    deadlines_s = [method.policy.deadline_s for service in SERVICES.values() for method in methods_of(service)]

    assert max(filter(math.isfinite, deadlines_s)) <= engine.CONNECTION_AGE_GRACE_S


def test_our_own_keepalive_pings_are_permitted() -> None:
    """Channels send keepalive pings less often than servers permit."""
    assert engine.PING_INTERVAL_S * 1000 < KEEPALIVE_INTERVAL_MS
