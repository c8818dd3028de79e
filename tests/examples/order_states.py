"""States of the order service that its consumers name in their expectations, and the replay of one expectation."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from acme.orders.v1 import orders_pb2 as pb
from acme.orders.v1.orders_pb2_grpc import OrderServiceStub
from contracts.testing import Expectation, expectations_on, verify
from orders.server import issue_keys, start_server
from shop.client import connect

if TYPE_CHECKING:
    from acme.orders.v1.orders_pb2_grpc import OrderServiceAsyncStub, OrderServiceServicer

FOLDER = Path(__file__).parents[2] / "examples/acme/expectations"
EXPECTATIONS = expectations_on(OrderServiceStub, FOLDER)
PENCILS = pb.PlaceOrderRequest(sku="PENCIL-SET-12", quantity=1, recipient="Ada Lovelace")


async def no_order(_orders: OrderServiceAsyncStub) -> dict[str, object]:
    """Return the id of an order that does not exist."""
    return {"order_id": str(uuid.uuid4())}


async def an_order(orders: OrderServiceAsyncStub) -> dict[str, object]:
    """Place an order and return its id."""
    return {"order_id": (await orders.PlaceOrder(PENCILS)).order_id}


STATES = {"an order": an_order, "any orders": no_order, "no order": no_order}


async def replay(
    expectation: Expectation, servicer: OrderServiceServicer, folder: Path, deadline_factor: float = 10.0
) -> None:
    """Serve `servicer` behind the interceptors, and replay an expectation with the key of its consumer."""
    async with AsyncExitStack() as exit_stack:
        server, port = await start_server(servicer, issue_keys(folder), "127.0.0.1:0")
        exit_stack.push_async_callback(server.stop, 0)
        key = (folder / expectation.consumer).read_text(encoding="utf-8")
        stub = OrderServiceStub(await exit_stack.enter_async_context(connect(f"127.0.0.1:{port}", key)))
        await verify(expectation, stub, STATES, stub, deadline_factor=deadline_factor)
