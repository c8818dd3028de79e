"""Health probes: what a service says of itself over grpc.health.v1, or that nobody answers (S5)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc.aio
from grpc_health.v1 import health_pb2

from interceptors.api_key import API_KEY
from mesh.connection import connection_options
from mesh.health import BREAKER_PREFIX, DEAD_LETTERS_PREFIX, STATUS_OF_BREAKER, TROUBLE_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    Probe = Callable[[], Awaitable[str]]

SERVING = "SERVING"
UNREACHABLE = "UNREACHABLE"
CHECK_PATH = "/grpc.health.v1.Health/Check"
LIST_PATH = "/grpc.health.v1.Health/List"
PATIENCE_S = 2.0
# The types of the package do not know these two yet.
_ListRequest = health_pb2.HealthListRequest  # type: ignore[attr-defined]
_ListResponse = health_pb2.HealthListResponse  # type: ignore[attr-defined]
_RECONNECTING = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]


@asynccontextmanager
async def probe_of(address: str, service: str, *, key: str = "", through_proxy: bool = False) -> AsyncIterator[Probe]:
    """Yield what asks the server at `address` for its own health and for that of `service`, by its full name.

    The answer is "SERVING" when both are, else the status of the one that is not, or "UNREACHABLE". `key` is for
    servers that do not answer health checks without one; `through_proxy` is as for any other call.
    """
    metadata = ((API_KEY, key),) if key else ()
    async with _channel_to(address, through_proxy=through_proxy) as channel:
        check = channel.unary_unary(
            CHECK_PATH,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

        async def probe() -> str:
            for name in ("", service):
                try:
                    request = health_pb2.HealthCheckRequest(service=name)
                    answer = await check(request, timeout=PATIENCE_S, metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    return _meaning_of(error.code())
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
            return SERVING

        yield probe


@dataclass(frozen=True, slots=True)
class Troubles:
    """What troubles a server that may be SERVING all the same; methods are those that it calls, by their full names.

    `breakers` is "open" or "half-open" for each method whose circuit breaker is not closed; `dead_letters` are the
    methods for which messages of its outbox were given up; `hindrances` are reasons why it cannot work, in words.
    """

    breakers: Mapping[str, str] = field(default_factory=dict)
    dead_letters: Sequence[str] = ()
    hindrances: Sequence[str] = ()


async def troubles_of(address: str, *, key: str = "", through_proxy: bool = False) -> Troubles:
    """Return what troubles the server at `address`; of one that does not answer, nothing is known."""
    metadata = ((API_KEY, key),) if key else ()
    async with _channel_to(address, through_proxy=through_proxy) as channel:
        ask = channel.unary_unary(LIST_PATH, _ListRequest.SerializeToString, _ListResponse.FromString)
        try:
            answer = await ask(_ListRequest(), timeout=PATIENCE_S, metadata=metadata)
        except grpc.aio.AioRpcError:
            return Troubles()
    state_of = {status: state for state, status in STATUS_OF_BREAKER.items()}
    listed = sorted(answer.statuses.items())
    return Troubles(
        breakers={
            name.removeprefix(BREAKER_PREFIX): state_of[entry.status]
            for name, entry in listed
            if name.startswith(BREAKER_PREFIX) and entry.status in state_of
        },
        dead_letters=[
            name.removeprefix(DEAD_LETTERS_PREFIX) for name, _ in listed if name.startswith(DEAD_LETTERS_PREFIX)
        ],
        hindrances=[name.removeprefix(TROUBLE_PREFIX) for name, _ in listed if name.startswith(TROUBLE_PREFIX)],
    )


def _channel_to(address: str, *, through_proxy: bool) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, [*connection_options(through_proxy=through_proxy), *_RECONNECTING])


def _meaning_of(code: grpc.StatusCode) -> str:
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return UNREACHABLE
    # The server is there and does not say: it asks for a key, or knows no such service.
    return code.name
