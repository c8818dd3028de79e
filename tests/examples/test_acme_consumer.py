"""Contract tests of the shop, which consumes the order service of the example."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from acme.orders.v1 import orders_pb2 as pb
from acme.orders.v1.orders_pb2_grpc import OrderServiceStub
from contracts.testing import ExpectationFiles, Expectations
from orders.server import SCOPES
from shop.client import connect
from shop.shop import PATIENCE_S, Shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ORDER_ID = "0198c1a2-1111-7000-8000-000000000001"


@pytest.fixture(scope="session")
def expectations_folder() -> Path:
    """Return the folder with the expectations of the example."""
    return Path(__file__).parents[2] / "examples/acme/expectations"


@pytest.fixture
async def expectations(expectation_files: ExpectationFiles) -> AsyncIterator[Expectations]:
    """Start a fake order service for the shop."""
    async with Expectations("shop", expectation_files, SCOPES["shop"]) as expectations:
        yield expectations


@pytest.fixture
async def shop(expectations: Expectations) -> AsyncIterator[Shop]:
    """Connect the shop to the fake order service, with its usual client."""
    async with connect(expectations.address, expectations.key) as channel:
        yield Shop(OrderServiceStub(channel))


async def test_the_shop_buys(shop: Shop, expectations: Expectations) -> None:
    """The shop gets the id of a new order."""
    orders = expectations.of(OrderServiceStub)
    orders.given("any orders").PlaceOrder(
        request=pb.PlaceOrderRequest(sku="BOOK-60", quantity=1),
        answer=pb.PlaceOrderResponse(order_id=ORDER_ID),
        any_value=["order_id"],
        within_s=PATIENCE_S,
    )

    order_id = await shop.buy(pb.PlaceOrderRequest(sku="BOOK-60", quantity=1, recipient="Ada Lovelace"))

    assert order_id == ORDER_ID


async def test_the_shop_follows_an_order(shop: Shop, expectations: Expectations) -> None:
    """The shop shows each status of an order in its order."""
    orders = expectations.of(OrderServiceStub)
    statuses = [pb.ORDER_STATUS_PLACED, pb.ORDER_STATUS_PACKED, pb.ORDER_STATUS_SHIPPED]
    orders.given("an order", order_id=ORDER_ID).WatchOrder(
        request=pb.WatchOrderRequest(order_id=ORDER_ID),
        answers=[pb.WatchOrderResponse(status=status) for status in statuses],
    )

    progress = [status async for status in shop.progress_of(ORDER_ID)]

    assert progress == ["ORDER_STATUS_PLACED", "ORDER_STATUS_PACKED", "ORDER_STATUS_SHIPPED"]


async def test_the_shop_shows_nothing_for_an_unknown_order(shop: Shop, expectations: Expectations) -> None:
    """The shop treats a missing order as one without progress."""
    orders = expectations.of(OrderServiceStub)
    orders.given("no order", order_id=ORDER_ID).WatchOrder(
        request=pb.WatchOrderRequest(order_id=ORDER_ID), error=grpc.StatusCode.NOT_FOUND
    )

    assert [status async for status in shop.progress_of(ORDER_ID)] == []
