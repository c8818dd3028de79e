"""Contract tests of the session service, which provides what its consumers expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from contracts.testing import Expectation, check_states, expectations_on, verify
from services.communication import app as communication
from services.gym import app as gym
from services.payment import app as payment
from services.session.app import SERVICE
from services.user import app as user
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.services.session.contracts.states_for_gym import STATES as STATES_FOR_GYM
from tests.services.session.contracts.states_for_session import STATES as STATES_FOR_SESSION
from tests.services.session.contracts.states_for_user import STATES as STATES_FOR_USER
from tests.support.consumers import EXPECTATIONS_FOLDER, all_states, verify_client_of
from tests.support.serving import DEADLINE_FACTOR

if TYPE_CHECKING:
    from contracts.testing import PreviousRelease
    from tests.support.serving import MeshForTests, Serve

EXPECTATIONS = expectations_on(SessionServiceStub, EXPECTATIONS_FOLDER)
STATES = all_states(STATES_FOR_GYM, STATES_FOR_SESSION, STATES_FOR_USER)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(serve_module: Serve) -> MeshForTests:
    """Serve once for all expectations, because each state has ids of its own. A mail needs the other services."""
    return await serve_module(user.SERVICE, gym.SERVICE, payment.SERVICE, communication.SERVICE, SERVICE)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=str)
async def test_the_session_service_provides_what_its_consumers_expect(
    expectation: Expectation, mesh: MeshForTests
) -> None:
    """Each expectation of a consumer holds for the real service."""
    stub = mesh.stub(SessionServiceStub, expectation.consumer)
    await verify(expectation, stub, STATES, mesh, deadline_factor=DEADLINE_FACTOR)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=str)
async def test_the_session_service_serves_consumers_of_the_previous_release(
    expectation: Expectation, mesh: MeshForTests, previous_release: PreviousRelease
) -> None:
    """Each expectation also holds for a consumer with the previous release's contracts."""
    await verify_client_of(previous_release, expectation, STATES, mesh)


def test_each_state_is_expected() -> None:
    """Each state of a consumer has a function, and each function a consumer."""
    check_states(STATES, EXPECTATIONS)
