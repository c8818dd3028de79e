"""States of the session service in which the user service has expectations."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.services.session.stored_sessions import hold_session
from tests.services.session.stores import stores_on

if TYPE_CHECKING:
    from services.session.sessions.domain import Session
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests

# While the invitation is being sent, EraseAddress fails with UNAVAILABLE.
SEND_INVITATION = """
    update outbox set status = 'delivered', due_time = null, settle_time = now()
    where position(convert_to($1, 'UTF8') in payload) > 0
"""


async def tomorrows_session(mesh: MeshForTests, *, requires_approval: bool = False) -> Session:
    """Book a session of a new member in a new gym for tomorrow."""
    bookings, now = stores_on(mesh.database("session")).bookings, mesh.clock.now()
    start = now + timedelta(days=1)
    held = await hold_session(bookings, now=now, start=start, requires_approval=requires_approval)
    booking = await bookings.confirm(held.session_id, lambda _: b"answer", now=now)
    assert booking is not None
    return booking.session


async def a_member_with_a_booked_session(mesh: MeshForTests) -> dict[str, object]:
    """Book a session, and return the id of its member."""
    return {"user_id": str((await tomorrows_session(mesh)).order.user_id)}


async def a_guest(mesh: MeshForTests) -> dict[str, object]:
    """Invite a guest to a booked session, and return the guest's address. The invitation is sent."""
    session, guests = await tomorrows_session(mesh), stores_on(mesh.database("session")).guests
    email = f"{uuid4().hex}@guests.example"
    async with guests.transaction() as tx:
        guest = await guests.invite(tx, session.session_id, email, "Grace Hopper", mesh.clock.now())
        await tx.connection.execute(SEND_INVITATION, str(guest.invitation_id))
    return {"email": email}


STATES: States = {
    "a guest with this address": a_guest,
    "a member with a booked session": a_member_with_a_booked_session,
}
