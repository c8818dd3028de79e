"""Releases of the example in time: the shop and the order service work with the previous release of each other."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from acme.orders.v1 import orders_pb2 as pb
from acme.orders.v1.orders_pb2_grpc import OrderServiceStub
from contracts.image import Image
from contracts.testing import (
    BrokenExpectation,
    Expectation,
    PreviousRelease,
    verify_previous_client,
    verify_previous_server,
)
from orders.server import SCOPES, issue_keys, start_server
from orders.servicer import OrderServicer
from shop.client import connect
from tests.examples.order_states import EXPECTATIONS, STATES
from tests.support.images import set_with_imports

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.descriptor_pb2 import DescriptorProto

NO_RECIPIENT = "The request violates the contract: recipient. (recipient must not be blank)"
BREAKAGE = (
    "shop of v1, given any orders: acme.orders.v1.OrderService/PlaceOrder: "
    f"it failed with INVALID_REQUEST, not an answer: {NO_RECIPIENT}"
)


def orders_file() -> tuple[FileDescriptorProto, DescriptorProto]:
    """Return a copy of the contract, and the request of PlaceOrder in it."""
    file = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    [request] = [message for message in file.message_type if message.name == "PlaceOrderRequest"]
    return file, request


@pytest.fixture
def previous_release() -> PreviousRelease:
    """Return the contract before article numbers had a pattern."""
    file, request = orders_file()
    request.field[0].ClearField("options")
    return PreviousRelease("v1", Image(set_with_imports([file])))


async def replay_as_previous_client(expectation: Expectation, release: PreviousRelease, folder: Path) -> None:
    """Serve today's orders, and replay an expectation with the types of the previous release."""
    async with AsyncExitStack() as exit_stack:
        server, port = await start_server(OrderServicer(), issue_keys(folder), "127.0.0.1:0")
        exit_stack.push_async_callback(server.stop, 0)
        address, key = f"127.0.0.1:{port}", (folder / expectation.consumer).read_text(encoding="utf-8")
        orders = OrderServiceStub(await exit_stack.enter_async_context(connect(address, key)))
        channel = await exit_stack.enter_async_context(grpc.aio.insecure_channel(address))
        await verify_previous_client(expectation, release, channel, key, STATES, orders, deadline_factor=10.0)


@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=str)
async def test_the_order_service_serves_consumers_of_the_previous_release(
    expectation: Expectation, previous_release: PreviousRelease, tmp_path: Path
) -> None:
    """Each expectation of a consumer also holds if the consumer has the previous contract."""
    await replay_as_previous_client(expectation, previous_release, tmp_path)


@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=str)
async def test_consumers_work_with_order_services_of_the_previous_release(
    expectation: Expectation, previous_release: PreviousRelease
) -> None:
    """A server with the previous contract accepts the consumer's request, and the consumer can read the answer."""
    await verify_previous_server(expectation, previous_release, SCOPES[expectation.consumer])


async def test_a_required_field_breaks_consumers_of_the_previous_release(tmp_path: Path) -> None:
    """A shop from before orders had a recipient is named, with the field that it does not send."""
    file, request = orders_file()
    del request.field[2]
    release = PreviousRelease("v1", Image(set_with_imports([file])))
    [place] = [each for each in EXPECTATIONS if each.method.name == "PlaceOrder"]

    with pytest.raises(BrokenExpectation) as broken:
        await replay_as_previous_client(place, release, tmp_path)

    assert str(broken.value) == BREAKAGE
