"""Expectations of the user service on every service that stores data of persons, and on itself.

They are in one module, because one departure or erasure calls them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import UserNotFound
from solo60.user.v1.user_pb2 import USER_STATE_DELETED, CompleteErasureRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.user_requests import get_user, update_user
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.user.contracts.user_consumer import UserConsumer


async def test_a_departure_is_published(consumer: UserConsumer) -> None:
    """UpdateUser to USER_STATE_DELETED publishes UserLeft to each subscriber."""
    user = await consumer.add_user()
    consumer.expect_departure(user)

    await update_user(consumer.users, user, state=USER_STATE_DELETED)

    await consumer.expectations.all_called()


async def test_an_erasure_begins_with_the_departure(consumer: UserConsumer) -> None:
    """EraseUser publishes UserLeft, and schedules the call that completes the erasure."""
    user = await consumer.add_user()
    consumer.expect_departure(user)
    consumer.expect_own_call(user)

    await consumer.erase(user)

    await consumer.expectations.all_called()


async def test_an_erasure_ends_at_every_service(consumer: UserConsumer) -> None:
    """CompleteErasure erases the address from the services that store it, then the user, and publishes UserErased."""
    user = await consumer.add_user()
    consumer.expect_departure(user)
    consumer.expect_own_call(user)
    await consumer.erase(user)
    consumer.expect_erasure_of_address()
    consumer.expect_erasure(user)

    await consumer.users.CompleteErasure(CompleteErasureRequest(user_id=user.user_id))

    await consumer.expectations.all_called()
    assert (await get_user(consumer.users, user)).email == ""


async def test_an_erasure_of_nobody_is_a_dead_letter(consumer: UserConsumer) -> None:
    """If CompleteErasure fails with USER_NOT_FOUND, the outbox does not try again."""
    user = await consumer.add_user()
    consumer.expect_departure(user)
    consumer.expectations.later(UserServiceStub).given("no user", user_id=user.user_id).CompleteErasure(
        request=CompleteErasureRequest(user_id=user.user_id), error=UserNotFound()
    )

    await consumer.erase(user)

    await consumer.expectations.all_called()

    async def is_dead() -> bool:
        return ("CompleteErasure", "dead") in await consumer.outbox()

    await eventually(is_dead)
