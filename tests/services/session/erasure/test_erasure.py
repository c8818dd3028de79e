"""Erasure of members with their sessions and guests, and of guests by address."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from contracts.errors import CircuitOpen, IdempotencyKeyReused, Unavailable
from solo60.session.v1.session_pb2 import (
    EraseAddressRequest,
    InviteGuestRequest,
    OnUserErasedRequest,
    SessionStatus,
)
from solo60.user.v1.events_pb2 import UserErased
from tests.services.session.booking_mesh import book_request, with_key
from tests.services.session.stored_sessions import HOUR, NOW, book_session, hold_session
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.session.stores import Stores
    from tests.services.session.booking_mesh import BookingMesh

MINUTE = timedelta(minutes=1)
GUESTS = "select email, name, cancel_time is null as is_invited from guests order by create_time, invitation_id"
SEND_ALL = "update outbox set status = 'delivered', due_time = null, settle_time = now() where status = 'pending'"
GIVE_UP_ALL = "update outbox set status = 'dead', due_time = null, settle_time = now() where status = 'pending'"
LEASE_ALL = "update outbox set lease_holder = gen_random_uuid() where status = 'pending'"
RELEASE_ALL = "update outbox set lease_holder = null"
ERASED = ("", "", False)


async def invite(stores: Stores, session_id: UUID, email: str = "grace@guests.example") -> UUID:
    """Invite a guest and return the id of the invitation."""
    async with stores.guests.transaction() as tx:
        return (await stores.guests.invite(tx, session_id, email, "Grace Hopper", NOW)).invitation_id


async def guests_in(database: Database) -> list[tuple[str, str, bool]]:
    """Return address and name of each guest, and whether the guest is still invited."""
    async with database.connection() as connection:
        return [tuple(row) for row in await connection.fetch(GUESTS)]


async def execute(database: Database, statement: str) -> None:
    """Execute a statement."""
    async with database.connection() as connection:
        await connection.execute(statement)


async def is_finished(database: Database) -> bool:
    """Return whether the only erasure is finished."""
    async with database.connection() as connection:
        return bool(await connection.fetchval("select finish_time is not null from erased_users"))


async def test_guests_hear_of_the_cancellation_before_they_are_erased(booking_mesh: BookingMesh) -> None:
    """The event alone cancels and refunds a future session. Its guest gets the mail about it, and is then erased."""
    member, gym = await booking_mesh.create_member(credits_granted=3), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym))
    request = InviteGuestRequest(session_id=session.session_id, email="grace@guests.example", name="Grace")
    await booking_mesh.sessions.InviteGuest(request, metadata=with_key("invitation"))
    await booking_mesh.wait_until_settled()

    await booking_mesh.sessions.OnUserErased(OnUserErasedRequest(event=UserErased(user_id=member)))

    mails = await booking_mesh.wait_for_mails(4)
    to_guest = [mail.subject for mail in mails if mail.recipient == "grace@guests.example"]
    assert len(to_guest) == 2
    assert (await booking_mesh.find_session(session.session_id)).status == SessionStatus.SESSION_STATUS_CANCELLED
    assert await booking_mesh.balance(member) == 3

    async def is_guest_erased() -> bool:
        return await guests_in(booking_mesh.mesh.database("session")) == [ERASED]

    await eventually(is_guest_erased)
    with pytest.raises(IdempotencyKeyReused):
        await booking_mesh.sessions.InviteGuest(request, metadata=with_key("invitation"))


@pytest.mark.parametrize("statement", [SEND_ALL, GIVE_UP_ALL])
async def test_an_erasure_waits_for_pending_mails_to_guests(stores: Stores, database: Database, statement: str) -> None:
    """A guest is erased once the outbox has sent or given up the mail about the cancellation."""
    session = await book_session(stores.bookings)
    await invite(stores, session.session_id)

    await stores.erasures.erase_user(session.order.user_id, NOW)
    await stores.erasures.continue_erasures(NOW + MINUTE)

    assert await guests_in(database) == [("grace@guests.example", "Grace Hopper", True)]
    assert not await is_finished(database)

    await execute(database, statement)
    await stores.erasures.continue_erasures(NOW + MINUTE)

    assert await guests_in(database) == [ERASED]
    assert await is_finished(database)


async def test_a_booking_under_way_is_cancelled_in_a_later_round(stores: Stores, database: Database) -> None:
    """A session whose booking was under way when its member was erased is cancelled once it is paid."""
    held = await hold_session(stores.bookings)
    await stores.erasures.erase_user(held.order.user_id, NOW)
    assert not await is_finished(database)
    await stores.bookings.confirm(held.session_id, lambda _: b"answer", now=NOW)

    await stores.erasures.continue_erasures(NOW + MINUTE)

    assert (await stores.sessions.find(held.session_id)).status == "cancelled"
    assert await is_finished(database)


async def test_guests_of_a_running_session_are_erased_in_each_round(stores: Stores, database: Database) -> None:
    """A session that runs during the erasure is not cancelled. Guests invited to it later are erased, too."""
    session = await book_session(stores.bookings)
    during = NOW + HOUR + MINUTE
    await invite(stores, session.session_id)
    await execute(database, SEND_ALL)
    await stores.erasures.erase_user(session.order.user_id, during)
    await invite(stores, session.session_id, "late@guests.example")
    await execute(database, SEND_ALL)

    await stores.erasures.continue_erasures(during + MINUTE)

    assert await guests_in(database) == [ERASED, ERASED]
    assert not await is_finished(database)
    await stores.sessions.complete_past(NOW + 2 * HOUR)
    await stores.erasures.continue_erasures(NOW + 2 * HOUR)
    assert await is_finished(database)


async def test_sessions_of_others_stay(stores: Stores, database: Database) -> None:
    """An erasure changes neither the sessions nor the guests of other members."""
    session = await book_session(stores.bookings)
    await invite(stores, session.session_id)
    await execute(database, SEND_ALL)

    await stores.erasures.erase_user(uuid4(), NOW)
    await stores.erasures.erase_address("carl@guests.example", NOW)

    assert await guests_in(database) == [("grace@guests.example", "Grace Hopper", True)]
    assert await stores.sessions.find(session.session_id) == session


async def test_an_address_is_erased_from_the_sessions_of_others(stores: Stores, database: Database) -> None:
    """EraseAddress ends the invitations to an address, in any spelling, and leaves other guests."""
    session = await book_session(stores.bookings)
    await invite(stores, session.session_id)
    await invite(stores, session.session_id, "carl@guests.example")
    await execute(database, SEND_ALL)

    await stores.erasures.erase_address("GRACE@Guests.example", NOW)

    assert sorted(await guests_in(database)) == [ERASED, ("carl@guests.example", "Grace Hopper", True)]


async def test_an_address_is_not_erased_while_a_mail_to_it_is_being_sent(stores: Stores, database: Database) -> None:
    """EraseAddress fails with UNAVAILABLE and changes nothing during a delivery. A waiting mail does not stop it."""
    session = await book_session(stores.bookings)
    await invite(stores, session.session_id)
    await execute(database, LEASE_ALL)

    with pytest.raises(Unavailable):
        await stores.erasures.erase_address("grace@guests.example", NOW)

    assert await guests_in(database) == [("grace@guests.example", "Grace Hopper", True)]
    await execute(database, RELEASE_ALL)
    await stores.erasures.erase_address("grace@guests.example", NOW)
    assert await guests_in(database) == [ERASED]


async def test_a_mail_to_an_erased_guest_is_skipped(booking_mesh: BookingMesh) -> None:
    """A mail that waited in the outbox while its guest was erased is neither sent nor a dead letter."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym))
    await booking_mesh.wait_until_settled()
    await booking_mesh.stop("communication")
    request = InviteGuestRequest(session_id=session.session_id, email="grace@guests.example", name="Grace")
    await booking_mesh.sessions.InviteGuest(request)

    async def is_erased() -> bool:
        try:
            await booking_mesh.sessions.EraseAddress(EraseAddressRequest(email="grace@guests.example"))
        except (Unavailable, CircuitOpen):  # a delivery is under way
            return False
        return True

    await eventually(is_erased)
    await booking_mesh.start("communication")

    mails = await booking_mesh.wait_for_mails(1)
    assert not any(mail.recipient == "grace@guests.example" for mail in mails)
    async with booking_mesh.mesh.database("session").connection() as connection:
        assert await connection.fetchval("select count(*) from outbox where status = 'dead'") == 0
