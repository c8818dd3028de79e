"""Contract tests of the order service of the example, which provides what its consumers expect."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acme.orders.v1.orders_pb2_grpc import OrderServiceStub
from contracts.testing import Expectation, check_states, expectations_on, verify
from orders.client import BOOK, connect
from orders.server import issue_keys, start_server
from orders.servicer import OrderServicer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from acme.orders.v1.orders_pb2_grpc import OrderServiceAsyncStub

FOLDER = Path(__file__).parents[2] / "examples/acme/expectations"
EXPECTATIONS = expectations_on(OrderServiceStub, FOLDER)


async def no_order(_orders: OrderServiceAsyncStub) -> dict[str, object]:
    """Return the id of an order that does not exist."""
    return {"order_id": str(uuid.uuid4())}


async def an_order(orders: OrderServiceAsyncStub) -> dict[str, object]:
    """Place an order and return its id."""
    return {"order_id": (await orders.PlaceOrder(BOOK)).order_id}


STATES: Mapping[str, Callable[[OrderServiceAsyncStub], Awaitable[dict[str, object]]]] = {
    "an empty order book": no_order,
    "an order": an_order,
    "no order": no_order,
}


async def verify_servicer(
    servicer: OrderServicer, expectation: Expectation, folder: Path, deadline_factor: float = 10.0
) -> None:
    """Serve `servicer` behind the interceptors, and replay an expectation with the consumer's key."""
    async with AsyncExitStack() as exit_stack:
        server, port = await start_server(servicer, issue_keys(folder), "127.0.0.1:0")
        exit_stack.push_async_callback(server.stop, 0)
        key = (folder / expectation.consumer).read_text(encoding="utf-8")
        stub = OrderServiceStub(await exit_stack.enter_async_context(connect(f"127.0.0.1:{port}", key)))
        await verify(expectation, stub, STATES, stub, deadline_factor=deadline_factor)


@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=str)
async def test_the_order_service_provides_what_its_consumers_expect(expectation: Expectation, tmp_path: Path) -> None:
    """Each expectation of a consumer holds for the real servicer."""
    await verify_servicer(OrderServicer(), expectation, tmp_path)


def test_each_state_is_expected() -> None:
    """Each state of a consumer has a function, and each function a consumer."""
    check_states(STATES, EXPECTATIONS)
