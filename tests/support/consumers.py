"""Consumers of contract tests: one real service on its own database, and fake providers for everything that it calls.

async def test_a_booking_asks_for_the_price(consume: Consume) -> None:
mesh, expectations = await consume(session.SERVICE)
expectations.of(GymServiceStub).given("an open gym", gym_id=GYM_ID).GetGym(...)
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import grpc.aio
import pytest

from contracts.scopes import scopes_of_caller
from contracts.services import SERVICE_NAMES, short_service_name
from contracts.testing import Expectation, ExpectationFiles, Expectations, PreviousRelease, verify_previous_client
from tests.support.serving import DEADLINE_FACTOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from mesh.serving.service import Service
    from tests.support.postgres import DatabaseFactory
    from tests.support.serving import MeshForTests, Serve

    # Functions that prepare a provider, by the state, and return the values of its placeholders.
    States: TypeAlias = Mapping[str, Callable[[MeshForTests], Awaitable[Mapping[str, object]]]]

EXPECTATIONS_FOLDER = Path(__file__).parents[1] / "contracts/expectations"


class Consume(Protocol):
    """Starter of consumers. Settings by field name override the defaults."""

    async def __call__(self, service: Service, **settings: Any) -> tuple[MeshForTests, Expectations]:
        """Start `service`, and return its mesh and the expectations that its providers are scripted with.

        Calls to itself, through its outbox, go to a fake too.
        """


@pytest.fixture
async def consume(
    serve: Serve, database_url: DatabaseFactory, expectation_files: ExpectationFiles
) -> AsyncIterator[Consume]:
    """Start consumers for one test, and record their expectations after it."""
    async with AsyncExitStack() as exit_stack:

        async def start(service: Service, **settings: Any) -> tuple[MeshForTests, Expectations]:
            expectations = Expectations(
                service.name, expectation_files, scopes_of_caller(service.name), deadline_factor=DEADLINE_FACTOR
            )
            await exit_stack.enter_async_context(expectations)
            mesh = await serve(**settings)
            mesh.keys[service.name] = expectations.key
            fakes = {f"{name}_service_url": expectations.address for name in SERVICE_NAMES}
            await mesh.start(service, await database_url(service.name), **fakes)
            exit_stack.push_async_callback(mesh.stop, service.name)
            return mesh, expectations

        yield start


def all_states(*tables: States) -> States:
    """Return the states of all consumers of a provider; raise AssertionError if two functions prepare one state."""
    union: dict[str, Callable[[MeshForTests], Awaitable[Mapping[str, object]]]] = {}
    for state, function in (item for table in tables for item in table.items()):
        assert union.setdefault(state, function) is function, f"Two functions prepare the state: {state}."
    return union


async def verify_client_of(
    release: PreviousRelease, expectation: Expectation, states: States, mesh: MeshForTests
) -> None:
    """Replay an expectation against a service of `mesh`, as a client of the previous release."""
    url = mesh.settings.url_of(short_service_name(expectation.method.service))
    async with grpc.aio.insecure_channel(url) as channel:
        key = mesh.keys[expectation.consumer]
        await verify_previous_client(expectation, release, channel, key, states, mesh, deadline_factor=DEADLINE_FACTOR)
