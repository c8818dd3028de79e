"""Contract tests of the user service, which provides what its consumers expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from contracts.events import subscribers_of
from contracts.scopes import scopes_of_caller
from contracts.services import SERVICE_NAMES, all_methods
from contracts.testing import Caller, Expectation, FakeServer, check_states, expectations_on, verify
from contracts.testing.script import Script
from services.user.app import SERVICE
from solo60.user.v1.events_pb2 import UserErased, UserLeft
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.contracts.states_for_auth import STATES as STATES_FOR_AUTH
from tests.services.user.contracts.states_for_session import STATES as STATES_FOR_SESSION
from tests.services.user.contracts.states_for_subscription import STATES as STATES_FOR_SUBSCRIPTION
from tests.services.user.contracts.states_for_user import STATES as STATES_FOR_USER
from tests.support.consumers import EXPECTATIONS_FOLDER, all_states, verify_client_of
from tests.support.serving import DEADLINE_FACTOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from contracts.testing import PreviousRelease
    from tests.support.serving import MeshForTests, Serve

EXPECTATIONS = expectations_on(UserServiceStub, EXPECTATIONS_FOLDER)
STATES = all_states(STATES_FOR_SUBSCRIPTION, STATES_FOR_SESSION, STATES_FOR_AUTH, STATES_FOR_USER)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def erasing_services() -> AsyncIterator[FakeServer]:
    """Serve fakes of the services that an erasure calls."""
    events = (UserLeft.DESCRIPTOR.full_name, UserErased.DESCRIPTOR.full_name)
    methods = [method for event in events for method in subscribers_of(event)]
    methods += [method for name, method in all_methods().items() if name.endswith("/EraseAddress")]
    async with FakeServer(deadline_factor=DEADLINE_FACTOR) as fake:
        for method in methods:
            fake.add(Script(method, answers=(method.response_type(),)))
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(erasing_services: FakeServer, serve_module: Serve) -> MeshForTests:
    """Serve once for all expectations, because each state has ids of its own."""
    others = {f"{name}_service_url": erasing_services.address for name in SERVICE_NAMES if name != "user"}
    mesh = await serve_module(SERVICE, **others)
    erasing_services.callers.append(Caller("user", scopes_of_caller("user"), mesh.keys["user"]))
    return mesh


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=str)
async def test_the_user_service_provides_what_its_consumers_expect(
    expectation: Expectation, mesh: MeshForTests
) -> None:
    """Each expectation of a consumer holds for the real service."""
    stub = mesh.stub(UserServiceStub, expectation.consumer)
    await verify(expectation, stub, STATES, mesh, deadline_factor=DEADLINE_FACTOR)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=str)
async def test_the_user_service_serves_consumers_of_the_previous_release(
    expectation: Expectation, mesh: MeshForTests, previous_release: PreviousRelease
) -> None:
    """Each expectation also holds for a consumer with the previous release's contracts."""
    await verify_client_of(previous_release, expectation, STATES, mesh)


def test_each_state_is_expected() -> None:
    """Each state of a consumer has a function, and each function a consumer."""
    check_states(STATES, EXPECTATIONS)
