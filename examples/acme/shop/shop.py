"""Shop: code that depends on the order service, whichever server is behind the stub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from acme.orders.v1 import orders_pb2 as pb
from contracts.errors import UnknownError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acme.orders.v1.orders_pb2_grpc import OrderServiceAsyncStub

# A customer waits for the order, so the shop waits less than the contract allows.
PATIENCE_S = 2.0


class Shop:
    """Shop that places orders and follows them."""

    def __init__(self, orders: OrderServiceAsyncStub) -> None:
        self._orders = orders

    async def buy(self, order: pb.PlaceOrderRequest) -> str:
        """Place an order and return its id."""
        return (await self._orders.PlaceOrder(order, timeout=PATIENCE_S)).order_id

    async def progress_of(self, order_id: str) -> AsyncIterator[str]:
        """Yield each status of an order until it is shipped; nothing if there is no such order."""
        try:
            async for response in self._orders.WatchOrder(pb.WatchOrderRequest(order_id=order_id)):
                yield pb.OrderStatus.Name(response.status)
        except UnknownError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
