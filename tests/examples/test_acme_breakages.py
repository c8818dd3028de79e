"""Broken order services: verification fails for each of them, and names the consumer that it would break."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from acme.orders.v1 import orders_pb2 as pb
from contracts.errors import InvalidRequest, Violation
from contracts.testing import BrokenExpectation
from orders.servicer import OrderServicer
from tests.examples.order_states import EXPECTATIONS, replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PLACE, WATCH = "acme.orders.v1.OrderService/PlaceOrder", "acme.orders.v1.OrderService/WatchOrder"
PACKED, SHIPPED = "ORDER_STATUS_PACKED", "ORDER_STATUS_SHIPPED"
UNKNOWN = "There is no order with this id."
LONGER = "The article number is too short. (sku must have at least 12 characters)"


class WithoutStatus(OrderServicer):
    """Order service that no longer sends a field."""

    async def WatchOrder(self, request: pb.WatchOrderRequest, context: Any) -> AsyncIterator[pb.WatchOrderResponse]:
        async for _ in super().WatchOrder(request, context):
            yield pb.WatchOrderResponse()


class WithLongArticleNumbers(OrderServicer):
    """Order service with a new rule for requests."""

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Any) -> pb.PlaceOrderResponse:
        if len(request.sku) < len("ACME-BOOK-60"):
            violation = Violation("sku", "must have at least 12 characters")
            raise InvalidRequest("The article number is too short.", violations=[violation])
        return await super().PlaceOrder(request, context)


class WithAnotherError(OrderServicer):
    """Order service that rejects unknown orders with another status."""

    async def WatchOrder(self, request: pb.WatchOrderRequest, context: Any) -> AsyncIterator[pb.WatchOrderResponse]:
        if request.order_id not in self._order_ids:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, UNKNOWN)
        async for response in super().WatchOrder(request, context):
            yield response


class InAnotherOrder(OrderServicer):
    """Order service that reports the shipping before the packing."""

    async def WatchOrder(self, request: pb.WatchOrderRequest, context: Any) -> AsyncIterator[pb.WatchOrderResponse]:
        placed, packed, shipped = [response async for response in super().WatchOrder(request, context)]
        for response in (placed, shipped, packed):
            yield response


class Slow(OrderServicer):
    """Order service that takes longer for a book than the shop waits."""

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Any) -> pb.PlaceOrderResponse:
        if request.sku == "BOOK-60":
            await asyncio.Event().wait()
        return await super().PlaceOrder(request, context)


BREAKAGES = [
    (WithoutStatus, f"shop, given an order: {WATCH}: message 1 of the stream: status is not set."),
    (
        WithLongArticleNumbers,
        f"shop, given any orders: {PLACE}: it failed with INVALID_REQUEST, not an answer: {LONGER}",
    ),
    (
        WithAnotherError,
        f"shop, given no order: {WATCH}: it failed with status FAILED_PRECONDITION, not status NOT_FOUND: {UNKNOWN}",
    ),
    (
        InAnotherOrder,
        f"shop, given an order: {WATCH}: message 2 of the stream: status is {SHIPPED}, not {PACKED}.",
    ),
    (Slow, f"shop, given any orders: {PLACE}: it did not answer within 0.2 s."),
]


@pytest.mark.parametrize(("servicer", "problem"), BREAKAGES)
async def test_a_broken_provider_is_found_and_its_consumer_named(
    servicer: type[OrderServicer], problem: str, tmp_path: Path
) -> None:
    """The message names consumer, state, method and problem; the expectations that still hold are met."""
    problems = []
    for expectation in EXPECTATIONS:
        try:
            await replay(expectation, servicer(), tmp_path, deadline_factor=0.1 if servicer is Slow else 10.0)
        except BrokenExpectation as broken:
            problems += str(broken).splitlines()

    assert problem in problems
    assert {each.split(": ")[0] for each in problems} == {problem.split(": ", maxsplit=1)[0]}
