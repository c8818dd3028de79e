"""Server engines: gRPC's own core (`grpcio`), or one in Rust (`native`), behind the same interface.

`native` (the package pygrpc-native) serves several times as many calls per core, but is young and has fewer features
than `grpcio`. A request for a missing feature is rejected with one sentence.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import grpc.aio

from contracts.errors import Unavailable
from interceptors.chain.chained_server import ChainedServer
from interceptors.chain.server import ServerChain, ServerInterceptor
from interceptors.metadata_limit import MAX_METADATA_BYTES
from mesh.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grpc_interceptor.server import AsyncServerInterceptor

    from interceptors.chain.call import Call, Finish

    Options = Sequence[tuple[str, Any]]

Engine: TypeAlias = Literal["grpcio", "native"]

MEBIBYTE = 1024 * 1024
# Limits for callers. The native engine applies only those in `_COMMON`.

# The calls of a caller share one connection. Beyond this number of concurrent calls, grpcio rejects some with
# REFUSED_STREAM instead of queueing them, because client and server disagree on the moment when a call ends. With a
# limit of 1,000, a flood of reset calls on twenty connections needs too much memory.
STREAMS_PER_CONNECTION = 256
REQUEST_BYTES = 1 * MEBIBYTE
# A connection is replaced after half an hour, so that new replicas get their share of calls. Running calls are not
# cancelled: the grace period equals the longest deadline of any contract, one hour.
CONNECTION_AGE_S = 30 * 60
CONNECTION_AGE_GRACE_S = 60 * 60
CONNECTION_IDLE_S = 5 * 60
# Time for a new connection to complete its handshake.
HANDSHAKE_TIMEOUT_S = 5
# Clients may ping at most this often and get two warnings. The mesh's own clients ping every 90 s.
PING_INTERVAL_S = 60
PING_STRIKES = 2
# Number of calls that may wait for Python, including calls that their callers have reset. Above it, the core cancels
# random calls of any connection. At the core's default of 1,000, a few peers that reset calls disturb all others.
PENDING_CALLS = 20_000

_COMMON: Options = (
    # With port reuse, a second process would share the port of the first and receive half of its calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
    ("grpc.max_receive_message_length", REQUEST_BYTES),
    # If the two limits differ, the core rejects metadata between them at random.
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
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
# Default options of each engine.
SERVER_OPTIONS: dict[Engine, Options] = {"grpcio": (*_COMMON, *_GRPCIO_ONLY), "native": _COMMON}
# The native engine rejects metadata that begins with "grpc-", so it cannot send retry pushback to callers.
SUPPORTS_PUSHBACK: frozenset[Engine] = frozenset({"grpcio"})
# The native engine closes its connections when the last call ends, and drops responses that are not yet written.
FLUSHES_BEFORE_CLOSE: frozenset[Engine] = frozenset({"grpcio"})
# The native engine runs handlers outside of the context in which the server was started.
KEEPS_CONTEXT: frozenset[Engine] = frozenset({"grpcio"})
FLUSH_TIME_S = 0.05
NATIVE_MISSING_MESSAGE = (
    "ENGINE: native needs the package pygrpc-native, which is not installed; install it, or set ENGINE=grpcio."
)


class RunningCalls(ServerInterceptor):
    """Interceptor that counts running calls, for an engine that closes connections before responses are written."""

    def __init__(self) -> None:
        self._count = 0
        self._is_draining = False
        self._all_ended = asyncio.Event()
        self._last_ended = 0.0

    def start(self, call: Call) -> Finish:  # noqa: ARG002 - every call counts
        if self._is_draining:
            raise Unavailable("This instance of the service is stopping.")
        self._count += 1
        return self._finish

    def _finish(self, _call: Call, _error: BaseException | None) -> None:
        self._count -= 1
        self._last_ended = time.monotonic()
        if self._is_draining and not self._count:
            self._all_ended.set()

    async def drain(self, grace_s: float) -> float:
        """Reject new calls and wait for the end of running ones; return the rest of `grace_s` in seconds."""
        self._is_draining = True
        began = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                if self._count:
                    await self._all_ended.wait()
                await asyncio.sleep(self._last_ended + FLUSH_TIME_S - time.monotonic())
        return max(0.0, grace_s - (time.monotonic() - began))


def new_server(
    engine: Engine,
    interceptors: Sequence[ServerInterceptor] = (),
    application: Sequence[AsyncServerInterceptor] = (),
    *,
    options: Options = (),
) -> grpc.aio.Server:
    """Return a server that is not started yet; `options` override the defaults of the mesh.

    `interceptors` and `application` are those of `ServerChain`. Raises SettingsError if the engine is not installed or
    does not support an option.
    """
    wanted = [*({**dict(SERVER_OPTIONS[engine]), **dict(options)}).items()]
    server = grpc.aio.server(options=wanted) if engine == "grpcio" else _native_server(wanted)
    return ChainedServer(server, ServerChain(interceptors, application))


def listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
    """Listen on `address` ("host:port"), with TLS if `credentials` are given, and return the port.

    Raises SettingsError if the engine does not support TLS, and RuntimeError if it cannot listen on the address.
    """
    if credentials is None:
        return server.add_insecure_port(address)
    try:
        return server.add_secure_port(address, credentials)
    except NotImplementedError:
        raise _unsupported("serve TLS") from None


def _native_server(options: Options) -> grpc.aio.Server:
    for name, value in options:
        if value and name in dict(_GRPCIO_ONLY):
            raise _unsupported(f"set {name}")
    try:
        import pygrpc_native.aio  # noqa: PLC0415 - not installed everywhere, and only needed for this engine
    except ImportError:
        raise SettingsError(NATIVE_MISSING_MESSAGE) from None
    try:
        return pygrpc_native.aio.server(options=options)
    except ValueError as error:  # the error names the option
        raise _unsupported(f"be started: {error}") from None


def _unsupported(what: str) -> SettingsError:
    return SettingsError(f"ENGINE: native cannot {what}; use ENGINE=grpcio.")
