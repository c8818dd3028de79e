"""Servicer of the orders: plain Python, with nothing about deadlines, scopes or retries."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import grpc

from acme.orders.v1 import orders_pb2 as pb
from acme.orders.v1.orders_pb2_grpc import OrderServiceServicer
from contracts.errors import IdempotencyKeyReused
from interceptors import current_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpc.aio import ServicerContext

# Time that packing and shipping take in this example.
STEP_S = 0.1


class OrderServicer(OrderServiceServicer):
    """RPC handlers for orders, which are stored in memory. Each order is packed and shipped while it is watched."""

    def __init__(self) -> None:
        # Request and order id of the first call, by caller and idempotency key.
        self._placed: dict[tuple[str, str], tuple[pb.PlaceOrderRequest, str]] = {}
        self._order_ids: set[str] = set()

    async def PlaceOrder(
        self, request: pb.PlaceOrderRequest, context: ServicerContext[pb.PlaceOrderRequest, pb.PlaceOrderResponse]
    ) -> pb.PlaceOrderResponse:
        call = current_context()
        if call is None:
            raise RuntimeError("OrderServicer needs ServerContext in its chain")
        key = (call.caller, call.idempotency_key)
        first_request, order_id = self._placed.setdefault(key, (request, str(uuid.uuid4())))
        if request != first_request:
            raise IdempotencyKeyReused
        call.replayed = order_id in self._order_ids
        self._order_ids.add(order_id)
        return pb.PlaceOrderResponse(order_id=order_id)

    async def WatchOrder(
        self, request: pb.WatchOrderRequest, context: ServicerContext[pb.WatchOrderRequest, pb.WatchOrderResponse]
    ) -> AsyncIterator[pb.WatchOrderResponse]:
        if request.order_id not in self._order_ids:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no order with this id.")
        yield pb.WatchOrderResponse(status=pb.ORDER_STATUS_PLACED)
        for status in (pb.ORDER_STATUS_PACKED, pb.ORDER_STATUS_SHIPPED):
            await asyncio.sleep(STEP_S)
            yield pb.WatchOrderResponse(status=status)
