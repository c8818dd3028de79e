"""Order server with a chain of server interceptors: PYTHONPATH=gen python -m orders.server"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from opentelemetry import trace
from prometheus_client import REGISTRY

from acme.orders.v1 import orders_pb2 as pb
from acme.orders.v1.orders_pb2_grpc import add_OrderServiceServicer_to_server
from interceptors import (
    ChainedServer,
    Keyring,
    ServerAccessLog,
    ServerApiKey,
    ServerChain,
    ServerContext,
    ServerCriticality,
    ServerDeadline,
    ServerDeprecation,
    ServerErrors,
    ServerIdempotencyKey,
    ServerIdle,
    ServerMetadataLimit,
    ServerMetrics,
    ServerRateLimit,
    ServerShedding,
    ServerTracing,
    ServerValidation,
)
from interceptors.keys.keyring import mint_key, record_of_key
from orders.servicer import OrderServicer
from orders.settings import ADDRESS, KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from acme.orders.v1.orders_pb2_grpc import OrderServiceServicer

ORDER_SERVICE = pb.DESCRIPTOR.services_by_name["OrderService"].full_name
HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
SCOPES = {"shop": ("order.read", "order.write"), "dashboard": ("order.read",)}
GRACE_S = 5.0


def chain(keyring: Keyring) -> ServerChain:
    """Return the server interceptors, outermost first. Anybody may call the health service, which has no policies."""
    foreign = frozenset({HEALTH_SERVICE})
    return ServerChain(
        [
            ServerErrors(),
            ServerContext(),
            ServerMetrics(REGISTRY, unmeasured_services=foreign),
            ServerMetadataLimit(),
            ServerShedding(never_shed=foreign),
            ServerCriticality(),
            ServerTracing(trace.get_tracer_provider()),
            ServerAccessLog(quiet_services=foreign),
            ServerApiKey(lambda: keyring, open_services=foreign),
            ServerDeadline(),
            ServerIdle(),
            ServerRateLimit(),
            ServerDeprecation(),
            ServerIdempotencyKey(),
            ServerValidation(),
        ]
    )


async def start_server(servicer: OrderServiceServicer, keyring: Keyring, address: str) -> tuple[ChainedServer, int]:
    """Start a server of `servicer` and of its health at `address`; return the server and its port."""
    server = ChainedServer(grpc.aio.server(), chain(keyring))
    add_OrderServiceServicer_to_server(servicer, server)
    state = health.HealthServicer()
    await state.set(ORDER_SERVICE, health_pb2.HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(state, server)
    port = server.add_insecure_port(address)
    await server.start()
    return server, port


def issue_keys(folder: Path) -> Keyring:
    """Write a new key for each caller to `folder`; return the keyring that accepts these keys.

    A real server never sees the keys of its callers. It loads records with hashes, and each caller has its own key.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    records = []
    for caller, scopes in SCOPES.items():
        key = mint_key("dev")
        (folder / caller).write_text(key, encoding="utf-8")
        records.append(record_of_key(key, caller, scopes))
    return Keyring(records)


async def main() -> None:
    server, port = await start_server(OrderServicer(), issue_keys(KEYS), ADDRESS)
    print(f"listening on port {port}", flush=True)
    try:
        await server.wait_for_termination()
    finally:
        await server.stop(GRACE_S)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
