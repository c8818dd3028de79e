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
from interceptors.errors import ServerErrors
from mesh import engine
from mesh.channel import KEEPALIVE_INTERVAL_MS
from mesh.config import SettingsError, load_settings
from mesh.engine import CallsUnderWay, listen, new_server
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.asking import Plain
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mesh.engine import Engine, Options


HI = echo_pb2.EchoRequest(text="hi")
ENGINES: tuple[Engine, ...] = ("grpcio", "native")
# A client that may send and get more than the mesh allows, on a connection of its own.
UNLIMITED = (
    ("grpc.max_metadata_size", 1024 * 1024),
    ("grpc.absolute_max_metadata_size", 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
)
both_engines = pytest.mark.parametrize("name", ENGINES)


class Holding(Plain):
    """Says back what it hears once its hook lets it, and counts who has come in."""

    def __init__(self) -> None:
        self.entered = 0
        self.hook = Endless()
        self.address = ""

    async def EchoJoined(self, request_iterator: Any, context: Any) -> Any:  # noqa: ANN401, ARG002, N802 - as generated
        """Say all of it back."""
        return echo_pb2.EchoJoinedResponse(text=" ".join([request.text async for request in request_iterator]))

    async def Echo(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - as generated
        """Count, wait, and say it back."""
        self.entered += 1
        await self.hook()
        return await super().Echo(request, context)

    def channel(self) -> grpc.aio.Channel:
        """Connect anew."""
        return grpc.aio.insecure_channel(self.address, UNLIMITED)


@asynccontextmanager
async def served(name: Engine, options: Options = (), *, held: bool = False) -> AsyncIterator[Holding]:
    """Serve on an engine; `held` calls wait for `hook.is_open`."""
    servicer = Holding()  # type: ignore[abstract]  # what these tests call
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


async def outcome_of(call: Any) -> grpc.StatusCode:  # noqa: ANN401 - a call of any shape
    """Wait for the end of a call and return its code."""
    code: grpc.StatusCode = await call.code()
    return code


@pytest.mark.requirement("L1")
def test_an_engine_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt engine must not become the other one."""
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
def test_what_native_cannot_do_is_refused(option: str, sentence: str) -> None:
    """Whoever asks for a limit must not believe that it holds."""
    with pytest.raises(SettingsError) as caught:
        new_server("native", options=[(option, 2)])

    assert str(caught.value) == f"{sentence}; use ENGINE=grpcio."


async def test_native_refuses_tls() -> None:
    """A port that was to be encrypted is never opened in the clear."""
    credentials = grpc.ssl_server_credentials([(b"key", b"certificate")])

    with pytest.raises(SettingsError) as caught:
        listen(new_server("native"), "127.0.0.1:0", credentials)

    assert str(caught.value) == "ENGINE: native cannot serve TLS; use ENGINE=grpcio."


def test_without_its_package_native_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not made for every system."""
    monkeypatch.setitem(sys.modules, "pygrpc_native.aio", None)

    with pytest.raises(SettingsError, match=r"^ENGINE: native needs the package pygrpc-native, which is not inst"):
        new_server("native")


@both_engines
async def test_a_request_of_a_mebibyte_is_the_largest(name: Engine) -> None:
    """In every shape of call."""
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
async def test_metadata_above_the_limit_is_always_refused(name: Engine, size: int, fits: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """And what is below never is; the core left to itself decides at random between 8 and 16 KiB."""
    metadata = (("x-large", "a" * size),)
    async with served(name) as servicer, servicer.channel() as channel:
        stub = EchoServiceStub(channel)
        codes = {await outcome_of(stub.Echo(HI, metadata=metadata)) for _ in range(4)}

    # Native answers with HTTP status 431, for which gRPC has no code of its own.
    refusal = {"grpcio": grpc.StatusCode.RESOURCE_EXHAUSTED, "native": grpc.StatusCode.UNKNOWN}[name]
    assert codes == {grpc.StatusCode.OK if fits else refusal}


@both_engines
async def test_a_connection_has_a_limit_of_calls_under_way(name: Engine) -> None:
    """A further one waits, and only on its own connection."""
    limit = engine.STREAMS_PER_CONNECTION
    async with served(name, held=True) as servicer, servicer.channel() as crowded, servicer.channel() as other:
        calls = [EchoServiceStub(crowded).Echo(HI) for _ in range(limit + 1)]
        await _until(lambda: servicer.entered >= limit)
        calls.append(EchoServiceStub(other).Echo(HI))
        await _until(lambda: servicer.entered > limit)
        assert (await EchoServiceStub(other).EchoLimited(echo_pb2.EchoLimitedRequest(text="hi"))).text == "hi"

        assert servicer.entered == limit + 1

        servicer.hook.is_open.set()
        assert {await outcome_of(call) for call in calls} == {grpc.StatusCode.OK}


async def test_native_is_given_time_to_write_its_last_answers() -> None:
    """It closes its connections when the last call has ended, written or not."""
    calls = CallsUnderWay()
    servicer = Holding()  # type: ignore[abstract]  # what these tests call
    server = new_server("native", [calls])
    add_EchoServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{listen(server, '127.0.0.1:0')}"
    await server.start()
    async with servicer.channel() as channel:
        under_way = EchoServiceStub(channel).Echo(HI)
        await servicer.hook.entered.wait()
        ending = asyncio.create_task(calls.end(60))
        late = await outcome_of(EchoServiceStub(channel).Echo(HI))
        assert not ending.done()

        servicer.hook.is_open.set()

        assert await outcome_of(under_way) is grpc.StatusCode.OK
        assert 0 < await ending < 60
        assert late is grpc.StatusCode.UNAVAILABLE
    await server.stop(0)


async def test_no_call_is_lost_when_connections_grow_old() -> None:
    """Each is replaced several times under load."""
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


def test_no_call_is_cut_because_its_connection_is_old() -> None:
    """An old connection is kept for the longest that a call on it may take."""
    deadlines_s = [method.policy.deadline_s for service in SERVICES.values() for method in methods_of(service)]

    assert max(filter(math.isfinite, deadlines_s)) <= engine.CONNECTION_AGE_GRACE_S


def test_our_own_clients_are_no_attackers() -> None:
    """They ask less often than servers permit."""
    assert engine.PING_INTERVAL_S * 1000 < KEEPALIVE_INTERVAL_MS


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a server's count, which nobody announces
            await asyncio.sleep(0.005)
