"""API keys during floods, failures of the keyring and key rotation."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from contracts.errors import RateLimited, Unauthenticated, Unavailable
from interceptors.access_log import ServerAccessLog
from interceptors.chain.channel import ChainedChannel
from interceptors.chain.server import ServerChain
from interceptors.keys.interceptor import UNVERIFIED_KEYS_BURST, WARNING_INTERVAL_S, ServerApiKey
from interceptors.keys.keyring import Keyring, mint_key, record_of_key
from interceptors.propagation import ServerContext
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.clock import ManualClock
from tests.support.echo import SCOPES, EchoServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from structlog.typing import EventDict

    from interceptors.keys.keyring import KeyEntry, KeyRecord

HI = echo_pb2.EchoRequest(text="hi")
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


class CountingKeyring(Keyring):
    """Keyring that counts its look-ups. Each look-up hashes the key."""

    lookups = 0

    def look_up(self, key: str, now_s: float) -> KeyEntry | None:
        """Count the look-up and return its result."""
        self.lookups += 1
        return super().look_up(key, now_s)


class GuardedServer:
    """Echo server that requires a key."""

    def __init__(self, keyring: Callable[[], Keyring], clock: ManualClock) -> None:
        self.servicer = EchoServicer()
        chain = ServerChain([ServerContext(), ServerAccessLog(), ServerApiKey(keyring, clock=clock)])
        self.grpc_server = grpc.aio.server(interceptors=[chain])
        add_EchoServiceServicer_to_server(self.servicer, self.grpc_server)
        self.port = self.grpc_server.add_insecure_port("127.0.0.1:0")

    async def call(self, key: str) -> str:
        """Call with `key` over a new connection and return the answer."""
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", own_connection)
        async with ChainedChannel(channel, []) as channel:
            return (await EchoServiceStub(channel).Echo(HI, metadata=(("x-api-key", key),))).text


@asynccontextmanager
async def guarded_server(
    keyring: Callable[[], Keyring], clock: ManualClock | None = None
) -> AsyncIterator[GuardedServer]:
    """Run the server for the duration of the context."""
    server = GuardedServer(keyring, clock or ManualClock())
    await server.grpc_server.start()
    try:
        yield server
    finally:
        await server.grpc_server.stop(0)


async def flood(server: GuardedServer, keys: list[str]) -> list[type[BaseException]]:
    """Call with each key in turn, each time over a new connection, and return the types of the errors."""
    answers = [(await asyncio.gather(server.call(key), return_exceptions=True))[0] for key in keys]
    return [type(answer) for answer in answers if isinstance(answer, BaseException)]


def record(key: str, now: datetime = NOW) -> KeyRecord:
    """Return the record of a key with all scopes of the echo service."""
    return record_of_key(key, "tester", SCOPES, now=now)


async def test_a_flood_of_unknown_keys_is_rate_limited() -> None:
    """After UNVERIFIED_KEYS_BURST unknown keys, further ones from the same host are rejected without hashing.

    The limit holds across connections, and one more key is checked after the time that the error names.
    """
    keyring, clock = CountingKeyring([record(mint_key("test"))]), ManualClock()
    async with guarded_server(lambda: keyring, clock) as server:
        errors = await flood(server, [mint_key("test") for _ in range(3 * UNVERIFIED_KEYS_BURST)])

        assert errors == [Unauthenticated] * UNVERIFIED_KEYS_BURST + [RateLimited] * 2 * UNVERIFIED_KEYS_BURST
        assert keyring.lookups == UNVERIFIED_KEYS_BURST
        with pytest.raises(RateLimited) as caught:
            await server.call(mint_key("test"))
        assert caught.value.retry_after_s
        assert server.servicer.entered == 0

        clock.now_s += caught.value.retry_after_s
        assert await flood(server, [mint_key("test")] * 2) == [Unauthenticated, RateLimited]


async def test_a_flood_does_not_block_valid_keys_of_its_host() -> None:
    """During a flood, known and new valid keys of the same host are accepted, even if the keyring changes."""
    known, new, broken = mint_key("test"), mint_key("test"), mint_key("test")
    records = [record(known), record(new), replace(record(broken), not_after=NOW - HOUR)]
    keyring = CountingKeyring(records)
    async with guarded_server(lambda: keyring) as server:
        assert await server.call(known) == "hi"
        await flood(server, [mint_key("test") for _ in range(UNVERIFIED_KEYS_BURST)])
        assert await flood(server, [broken] * UNVERIFIED_KEYS_BURST) == [Unauthenticated] * UNVERIFIED_KEYS_BURST
        assert await flood(server, [mint_key("test"), broken]) == [RateLimited] * 2

        assert [await server.call(key) for key in (known, new)] == ["hi", "hi"]
        for _ in range(2 * UNVERIFIED_KEYS_BURST):
            keyring = CountingKeyring(records)
            assert await server.call(known) == "hi"


async def test_an_accepted_key_is_hashed_once() -> None:
    """An accepted key is not hashed again until the keyring changes, and is then checked against the new keyring."""
    key = mint_key("test")
    keyring = CountingKeyring([record(key)])
    async with guarded_server(lambda: keyring) as server:
        assert [await server.call(key) for _ in range(3)] == ["hi"] * 3
        assert keyring.lookups == 1

        keyring = CountingKeyring([record(mint_key("test"))])
        with pytest.raises(Unauthenticated):
            await server.call(key)


@pytest.mark.parametrize("error", [OSError(), ValueError(), RecursionError(), KeyError("keys")], ids=repr)
async def test_a_failing_keyring_rejects_every_call(error: Exception, logs: list[EventDict]) -> None:
    """While the keyring fails, every call is Unavailable and a warning is logged once a minute.

    Calls succeed once the keyring works again.
    """
    key, clock = mint_key("test"), ManualClock()
    keyring, fails = Keyring([record(key)]), False

    def get_keyring() -> Keyring:
        if fails:
            raise error
        return keyring

    async with guarded_server(get_keyring, clock) as server:
        assert await server.call(key) == "hi"
        fails = True
        assert await flood(server, [key, mint_key("test"), ""]) == [Unavailable] * 3
        clock.now_s += WARNING_INTERVAL_S
        assert await flood(server, [key]) == [Unavailable]
        assert server.servicer.entered == 1
        fails = False
        assert await server.call(key) == "hi"

    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [line["error"] for line in warnings] == [type(error).__name__] * 2


async def test_a_malformed_record_rejects_its_key() -> None:
    """A key with a malformed record is rejected as Unavailable."""
    key = mint_key("test")
    keyring = Keyring([replace(record(key), sha256="é" * 64)])
    async with guarded_server(lambda: keyring) as server:
        assert await flood(server, [key]) == [Unavailable]


async def test_a_superseded_key_is_logged(logs: list[EventDict]) -> None:
    """Calls with a superseded key are marked in the access log, and a warning names the key once a minute."""
    old, new, clock = mint_key("test"), mint_key("test"), ManualClock()
    keyring = Keyring([record(old, now=NOW - HOUR), record(new, now=NOW - HOUR / 2)])
    async with guarded_server(lambda: keyring, clock) as server:
        for key in (old, new, old):
            await server.call(key)
        clock.now_s += WARNING_INTERVAL_S
        await server.call(old)

    key_id = old.split("_")[2]
    calls = [line.get("superseded_key") for line in logs if line["event"] == "call"]
    assert calls == [key_id, None, key_id, key_id]
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [(line["caller"], line["key_id"]) for line in warnings] == [("tester", key_id)] * 2
