"""Order client with a chain of client interceptors: PYTHONPATH=gen python -m shop.client"""

from __future__ import annotations

import asyncio

import grpc.aio
from opentelemetry import trace
from prometheus_client import REGISTRY

from acme.orders.v1 import orders_pb2 as pb
from acme.orders.v1.orders_pb2_grpc import OrderServiceStub
from contracts.errors import ScopeMissing
from contracts.service_config import service_config
from interceptors import (
    Breakers,
    ChainedChannel,
    ClientApiKey,
    ClientBreaker,
    ClientContext,
    ClientCriticality,
    ClientDeadline,
    ClientDeclaredCalls,
    ClientHedging,
    ClientIdempotencyKey,
    ClientInterceptor,
    ClientMetrics,
    ClientTracing,
    RetryBudgets,
)
from orders.settings import ADDRESS, KEYS
from shop.shop import Shop

BOOK = pb.PlaceOrderRequest(sku="BOOK-60", quantity=1, recipient="Ada Lovelace")


def interceptors(key: str) -> list[ClientInterceptor]:
    """Return the client interceptors, outermost first."""
    return [
        ClientTracing(trace.get_tracer_provider()),
        ClientMetrics(REGISTRY),
        ClientDeclaredCalls(),
        ClientDeadline(),
        ClientContext(),
        ClientCriticality(),
        ClientApiKey(lambda: key),
        ClientIdempotencyKey(),
        ClientHedging(RetryBudgets()),
        ClientBreaker(Breakers()),
    ]


def connect(address: str, key: str) -> ChainedChannel:
    """Return a channel to the order server. Its calls obey the policies of the contract."""
    options = [
        # Retries, as the contract declares them, are made by gRPC's core.
        ("grpc.service_config", service_config(pb.DESCRIPTOR.services_by_name["OrderService"])),
        ("grpc.service_config_disable_resolution", 1),
        # grpcio (1.62 to 1.85.3) crashes if two channels share a subchannel and both watch its health.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return ChainedChannel(grpc.aio.insecure_channel(address, options), interceptors(key))


async def main() -> None:
    async with connect(ADDRESS, (KEYS / "shop").read_text(encoding="utf-8")) as channel:
        shop = Shop(OrderServiceStub(channel))
        async for status in shop.progress_of(await shop.buy(BOOK)):
            print(status)
    async with connect(ADDRESS, (KEYS / "dashboard").read_text(encoding="utf-8")) as channel:
        try:
            await OrderServiceStub(channel).PlaceOrder(BOOK)
        except ScopeMissing as error:
            print(error.code.name, error.reason_name(), error.message)


if __name__ == "__main__":
    asyncio.run(main())
