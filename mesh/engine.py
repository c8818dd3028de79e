"""Engine: what carries a server's calls, gRPC's own core or one in Rust; services and interceptors do not know which.

`native` (the package pygrpc-native) answers several times as many calls on a core. It is young and cannot do all that
`grpcio` can: what it is asked for and cannot do is refused, in one sentence.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import grpc.aio

from contracts.errors import Unavailable
from interceptors.chained_server import ChainedServer
from interceptors.metadata_limit import LARGEST_METADATA_BYTES
from interceptors.server import ServerChain, ServerInterceptor
from mesh.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grpc_interceptor.server import AsyncServerInterceptor

    from interceptors.server import Call, Proceed

    Options = Sequence[tuple[str, Any]]

Engine: TypeAlias = Literal["grpcio", "native"]

MEBIBYTE = 1024 * 1024
# What a caller may send and hold open. Both engines keep to these.
# A caller's calls share one connection, and where as many are under way as this, the core refuses some beyond it with
# REFUSED_STREAM instead of letting them wait: the two ends do not count alike when a call ends. With 1,000, a flood of
# reset calls on twenty connections takes too much memory.
STREAMS_PER_CONNECTION = 256
REQUEST_BYTES = 1 * MEBIBYTE
# A connection is begun anew after half an hour, so that new replicas get their share. The calls on it are not cut: the
# longest deadline of any contract is an hour.
CONNECTION_AGE_S = 30 * 60
CONNECTION_AGE_GRACE_S = 60 * 60
CONNECTION_IDLE_S = 5 * 60
# Who has connected and says nothing.
HANDSHAKE_TIMEOUT_S = 5
# A client may ask no more often whether the connection still lives, and is warned twice. Ours asks every 90 s.
PING_INTERVAL_S = 60
PING_STRIKES = 2
# So many calls may wait until Python takes them, also those that their callers have reset meanwhile. Beyond it the core
# cancels calls at random, of any connection: at its own limit of 1,000 a few peers that reset calls harm all others.
PENDING_CALLS = 20_000

_COMMON: Options = (
    # Without this a second process would share the port of the first and take half of its calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
    ("grpc.max_receive_message_length", REQUEST_BYTES),
    # Between two different limits the core refuses at random.
    ("grpc.max_metadata_size", LARGEST_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", LARGEST_METADATA_BYTES),
)
_GRPCIO_ONLY: Options = (
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_S * 1000),
    ("grpc.max_connection_idle_ms", CONNECTION_IDLE_S * 1000),
    ("grpc.max_connection_age_ms", CONNECTION_AGE_S * 1000),
    ("grpc.max_connection_age_grace_ms", CONNECTION_AGE_GRACE_S * 1000),
    ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_S * 1000),
    ("grpc.http2.max_ping_strikes", PING_STRIKES),
    ("grpc.server.max_pending_requests", PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS),
)
# What each engine is told where nobody asks for something else.
SERVER_OPTIONS: dict[Engine, Options] = {"grpcio": (*_COMMON, *_GRPCIO_ONLY), "native": _COMMON}
# Native takes no metadata that begins with "grpc-", so it cannot tell a caller's core when to try again.
CAN_PUSH_BACK: frozenset[Engine] = frozenset({"grpcio"})
# Native closes its connections at the end of the last call, and what is not yet written to them is lost.
ANSWERS_BEFORE_IT_CLOSES: frozenset[Engine] = frozenset({"grpcio"})
TIME_TO_WRITE_S = 0.05
NATIVE_IS_MISSING = (
    "ENGINE: native needs the package pygrpc-native, which is not installed here; grpcio works everywhere."
)


class CallsUnderWay(ServerInterceptor):
    """The calls of a server whose engine does not itself wait until their answers are on their way."""

    def __init__(self) -> None:
        self._count = 0
        self._are_over = False
        self._none_left = asyncio.Event()
        self._last_ended = 0.0

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        if self._are_over:
            raise Unavailable("This instance of the service stops.")
        self._count += 1
        try:
            return await proceed(call)
        finally:
            self._count -= 1
            self._last_ended = time.monotonic()
            if self._are_over and not self._count:
                self._none_left.set()

    async def end(self, grace_s: float) -> float:
        """Take no more, and wait until those under way are answered; return what is then left of `grace_s` seconds."""
        self._are_over = True
        began = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                if self._count:
                    await self._none_left.wait()
                await asyncio.sleep(self._last_ended + TIME_TO_WRITE_S - time.monotonic())
        return max(0.0, grace_s - (time.monotonic() - began))


def new_server(
    engine: Engine,
    interceptors: Sequence[ServerInterceptor] = (),
    application: Sequence[AsyncServerInterceptor] = (),
    *,
    options: Options = (),
) -> grpc.aio.Server:
    """Make a server that is not started yet; `options` count more than those of the mesh.

    `interceptors` and `application` are those of `ServerChain`. Raises SettingsError where the engine is not installed
    here or cannot do what an option asks for.
    """
    wanted = [*({**dict(SERVER_OPTIONS[engine]), **dict(options)}).items()]
    server = grpc.aio.server(options=wanted) if engine == "grpcio" else _native_server(wanted)
    return ChainedServer(server, ServerChain(interceptors, application))


def listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
    """Listen at `address` ("host:port"), with TLS where there are `credentials`, and return the port.

    Raises SettingsError where the engine cannot do that, and RuntimeError where the address cannot be had.
    """
    if credentials is None:
        return server.add_insecure_port(address)
    try:
        return server.add_secure_port(address, credentials)
    except NotImplementedError:
        raise _cannot("serve TLS") from None


def _native_server(options: Options) -> grpc.aio.Server:
    for name, value in options:
        if value and name in dict(_GRPCIO_ONLY):
            raise _cannot(f"do {name}")
    try:
        import pygrpc_native.aio  # noqa: PLC0415 - not installed everywhere, and needed for this engine alone
    except ImportError:
        raise SettingsError(NATIVE_IS_MISSING) from None
    try:
        return pygrpc_native.aio.server(options=options)
    except ValueError as error:  # it names the option
        raise _cannot(f"do that: {error}") from None


def _cannot(what: str) -> SettingsError:
    return SettingsError(f"ENGINE: native cannot {what}; with ENGINE=grpcio a service can.")
