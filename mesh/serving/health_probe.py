"""Client of grpc.health.v1: probes a server's health and lists its problems."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc.aio
from grpc_health.v1 import health_pb2

from interceptors.keys.interceptor import API_KEY
from mesh.connection import connection_options
from mesh.serving.health import BREAKER_PREFIX, DEAD_LETTERS_PREFIX, STATUS_OF_BREAKER, TROUBLE_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    Probe = Callable[[], Awaitable[str]]

SERVING = "SERVING"
UNREACHABLE = "UNREACHABLE"
CHECK_PATH = "/grpc.health.v1.Health/Check"
LIST_PATH = "/grpc.health.v1.Health/List"
PROBE_TIMEOUT_S = 2.0
# grpc_health's type stubs do not declare these two yet.
_ListRequest = health_pb2.HealthListRequest  # type: ignore[attr-defined]
_ListResponse = health_pb2.HealthListResponse  # type: ignore[attr-defined]
_RECONNECTING = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]


@asynccontextmanager
async def probe_of(address: str, service: str, *, key: str = "", through_proxy: bool = False) -> AsyncIterator[Probe]:
    """Yield a probe of the server at `address`, for its overall health and for that of `service` (its full name).

    The probe returns "SERVING" if both are serving, else the first other status, or "UNREACHABLE". `key` is for
    servers that require a key for health checks. `through_proxy` has the same meaning as for any other call.
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
                    response = await check(request, timeout=PROBE_TIMEOUT_S, metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    return _status_of_code(error.code())
                if response.status != health_pb2.HealthCheckResponse.SERVING:
                    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
            return SERVING

        yield probe


@dataclass(frozen=True, slots=True)
class Problems:
    """Problems that a server reports, even while it is SERVING. Methods are the server's callees, by full name.

    `breakers` maps each method with a circuit breaker that is not closed to "open" or "half-open". `dead_letters` are
    the methods with dead letters in the server's outbox. `troubles` are reasons why the server cannot do its work.
    """

    breakers: Mapping[str, str] = field(default_factory=dict)
    dead_letters: Sequence[str] = ()
    troubles: Sequence[str] = ()


async def problems_of(address: str, *, key: str = "", through_proxy: bool = False) -> Problems:
    """Return the problems that the server at `address` reports; none if the server does not answer."""
    metadata = ((API_KEY, key),) if key else ()
    async with _channel_to(address, through_proxy=through_proxy) as channel:
        list_health = channel.unary_unary(LIST_PATH, _ListRequest.SerializeToString, _ListResponse.FromString)
        try:
            response = await list_health(_ListRequest(), timeout=PROBE_TIMEOUT_S, metadata=metadata)
        except grpc.aio.AioRpcError:
            return Problems()
    state_of = {status: state for state, status in STATUS_OF_BREAKER.items()}
    listed = sorted(response.statuses.items())
    return Problems(
        breakers={
            name.removeprefix(BREAKER_PREFIX): state_of[entry.status]
            for name, entry in listed
            if name.startswith(BREAKER_PREFIX) and entry.status in state_of
        },
        dead_letters=[
            name.removeprefix(DEAD_LETTERS_PREFIX) for name, _ in listed if name.startswith(DEAD_LETTERS_PREFIX)
        ],
        troubles=[name.removeprefix(TROUBLE_PREFIX) for name, _ in listed if name.startswith(TROUBLE_PREFIX)],
    )


def _channel_to(address: str, *, through_proxy: bool) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, [*connection_options(through_proxy=through_proxy), *_RECONNECTING])


def _status_of_code(code: grpc.StatusCode) -> str:
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return UNREACHABLE
    # The server responded with an error: it requires a key, or does not know the service.
    return code.name
