from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from contracts.errors import (
    GuestAlreadyInvited,
    InvalidRequest,
    InvitationNotFound,
    RateLimited,
    ServiceError,
    SessionNotFound,
    SessionTakesNoGuests,
)
from interceptors.idempotency import REPLAYED
from solo60.session.v1.session_pb2 import (
    CancelInvitationRequest,
    CancelSessionRequest,
    Guest,
    InviteGuestRequest,
    ListGuestsRequest,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.services.session.booking_mesh import SERVICES, TOMORROW, book_request, with_key
from tests.services.session.stored_sessions import HOUR, NOW, book_session, hold_session, pending_mails

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.session.guests import domain
    from services.session.sessions.domain import Session
    from services.session.stores import Stores
    from tests.services.session.booking_mesh import BookingMesh
    from tests.support.serving import Serve


async def invite_in_store(stores: Stores, session_id: UUID, email: str = "grace@guests.example") -> domain.Guest:
    """Invite a guest through the store."""
    async with stores.guests.transaction() as tx:
        return await stores.guests.invite(tx, session_id, email, "Grace Hopper", NOW)


async def guest_mails(database: Database) -> list[tuple[str, UUID]]:
    """Return the pending mails to guests, as template and invitation id."""
    return [
        (each.template_key, UUID(each.invitation_id)) for each in await pending_mails(database) if each.invitation_id
    ]


async def invite(
    booking_mesh: BookingMesh, session_id: str, email: str, name: str = "Grace Hopper", key: str = ""
) -> Guest:
    """Invite a guest by a call."""
    request = InviteGuestRequest(session_id=session_id, email=email, name=name)
    return (await booking_mesh.sessions.InviteGuest(request, metadata=with_key(key) if key else None)).guest


@pytest.mark.requirement("J4")
async def test_a_guest_is_mailed_about_the_invitation_and_its_cancellation(booking_mesh: BookingMesh) -> None:
    """A guest is mailed once about the invitation and once about its cancellation, in the gym's time zone.

    A cancelled guest is no longer listed.
    """
    member = await booking_mesh.create_member(display_name="Ada Byron", time_zone="Asia/Kolkata")
    gym = await booking_mesh.create_gym(name="Field Street Gym", time_zone="Europe/Paris")
    session = await booking_mesh.book(book_request(member, gym))

    guest = await invite(booking_mesh, session.session_id, "grace@guests.example")
    assert await guests_of(booking_mesh, session.session_id) == [guest]
    for _ in range(2):
        await booking_mesh.sessions.CancelInvitation(CancelInvitationRequest(invitation_id=guest.invitation_id))

    assert await guests_of(booking_mesh, session.session_id) == []
    mails = {
        mail.subject.strip(): mail
        for mail in await booking_mesh.wait_for_mails(3)
        if mail.recipient == "grace@guests.example"
    }
    assert mails.keys() == {
        "“Ada Byron” invites you to train at Field Street Gym",
        "Your invitation to Field Street Gym is cancelled",
    }
    assert all("Hello “Grace Hopper”" in mail.body and "(Europe/Paris)" in mail.body for mail in mails.values())


@pytest.mark.requirement("J2")
async def test_guests_are_mailed_when_their_session_is_cancelled(booking_mesh: BookingMesh) -> None:
    """Cancelling a session mails each invited guest once. A guest with a cancelled invitation gets no second mail."""
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    cancelled = await invite(booking_mesh, session.session_id, "gone@guests.example")
    await booking_mesh.sessions.CancelInvitation(CancelInvitationRequest(invitation_id=cancelled.invitation_id))
    for email in ("grace@guests.example", "edsger@guests.example"):
        await invite(booking_mesh, session.session_id, email)

    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))

    notified = [mail.recipient for mail in await booking_mesh.wait_for_mails(8) if "is cancelled" in mail.subject]
    assert sorted(notified) == ["edsger@guests.example", "gone@guests.example", "grace@guests.example"]


@pytest.mark.requirement("S6")
async def test_an_invitation_repeated_with_its_key_invites_once(booking_mesh: BookingMesh) -> None:
    """Repeating an invitation with its key returns the same guest without a second mail.

    Without the key, an invitation is rejected.
    """
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))

    first = await invite(booking_mesh, session.session_id, "Grace@guests.example", key="once")
    request = InviteGuestRequest(session_id=session.session_id, email=first.email, name=first.name)
    call = booking_mesh.sessions.InviteGuest(request, metadata=with_key("once"))
    again = (await call).guest

    assert again == first
    assert (REPLAYED, "true") in tuple(await call.trailing_metadata())
    with pytest.raises(GuestAlreadyInvited):
        await invite(booking_mesh, session.session_id, "gracE@GUESTS.example")
    assert len(await booking_mesh.wait_for_mails(2)) == 2


async def test_guests_are_listed_in_pages(booking_mesh: BookingMesh) -> None:
    """Guests are listed in pages in order of invitation, and another session's page token is rejected (AIP-158)."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session, other = [
        await booking_mesh.book(book_request(member, gym, start=TOMORROW + number * HOUR)) for number in range(2)
    ]
    guests = [await invite(booking_mesh, session.session_id, f"guest-{number}@guests.example") for number in range(5)]

    listed: list[Guest] = []
    token = ""
    for _ in range(3):
        request = ListGuestsRequest(session_id=session.session_id, page_size=2, page_token=token)
        answer = await booking_mesh.sessions.ListGuests(request)
        listed += answer.guests
        token = answer.next_page_token or token

    assert answer.next_page_token == ""
    assert listed == guests
    for session_id, page_token in ((other.session_id, token), (session.session_id, uuid4().hex)):
        with pytest.raises(InvalidRequest):
            await booking_mesh.sessions.ListGuests(ListGuestsRequest(session_id=session_id, page_token=page_token))
    with pytest.raises(SessionNotFound):
        await booking_mesh.sessions.ListGuests(ListGuestsRequest(session_id=str(uuid4())))


async def test_concurrent_invitations_of_one_address_invite_once(stores: Stores, database: Database) -> None:
    """One of several concurrent invitations of an address, spelled in different case, succeeds.

    A cancelled guest may be invited again.
    """
    session = await book_session(stores.bookings)
    spellings = ["grace@guests.example", "Grace@Guests.Example", "GRACE@guests.example"] * 3

    answers = await asyncio.gather(
        *[invite_in_store(stores, session.session_id, email) for email in spellings], return_exceptions=True
    )

    (guest,) = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert {type(answer) for answer in answers} == {type(guest), GuestAlreadyInvited}
    await stores.guests.cancel_invitation(guest.invitation_id, NOW)
    again = await invite_in_store(stores, session.session_id)
    assert await guest_mails(database) == [
        ("GUEST_INVITED", guest.invitation_id),
        ("GUEST_SESSION_CANCELLED", guest.invitation_id),
        ("GUEST_INVITED", again.invitation_id),
    ]


@pytest.mark.requirement("J4")
@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("status = 'cancelled'", SessionTakesNoGuests),
        ("status = 'rejected'", SessionTakesNoGuests),
        ("status = 'completed'", SessionTakesNoGuests),
        ("period = tstzrange('2026-08-03 11:00Z', '2026-08-03 12:00Z')", SessionTakesNoGuests),
        ("session_id = gen_random_uuid()", SessionNotFound),
    ],
)
async def test_a_cancelled_or_past_session_takes_no_guests(
    stores: Stores, database: Database, change: str, refusal: type[ServiceError]
) -> None:
    """Inviting a guest to a cancelled, rejected, completed, past or unknown session fails and sends no mail."""
    session = await book_session(stores.bookings)
    async with database.transaction() as connection:
        await connection.execute(f"update sessions set {change}")  # noqa: S608 - the changes above

    with pytest.raises(refusal):
        await invite_in_store(stores, session.session_id)

    assert await guest_mails(database) == []


@pytest.mark.requirement("J4")
async def test_an_unpaid_session_takes_no_guests(stores: Stores) -> None:
    """Inviting a guest to a session that is not paid yet fails with SessionTakesNoGuests."""
    with pytest.raises(SessionTakesNoGuests):
        await invite_in_store(stores, (await hold_session(stores.bookings)).session_id)


async def test_an_unknown_invitation_cannot_be_cancelled(stores: Stores) -> None:
    """Cancelling an unknown invitation fails with InvitationNotFound."""
    with pytest.raises(InvitationNotFound):
        await stores.guests.cancel_invitation(uuid4(), NOW)


async def test_an_invitation_during_a_cancellation_is_rejected_or_cancelled(stores: Stores, database: Database) -> None:
    """An invitation concurrent with the session's cancellation is either rejected or cancelled with one mail."""
    for _ in range(25):
        session = await book_session(stores.bookings)
        _, answer = await asyncio.gather(
            stores.cancellations.cancel(session.session_id, "", now=NOW, in_credits=False),
            invite_in_store(stores, session.session_id),
            return_exceptions=True,
        )
        notified = [invitation for mail, invitation in await guest_mails(database) if mail == "GUEST_SESSION_CANCELLED"]
        if isinstance(answer, SessionTakesNoGuests):
            assert session.session_id not in {each.session_id for each in await all_guests(stores, session)}
        else:
            assert not isinstance(answer, BaseException)
            assert notified.count(answer.invitation_id) == 1


async def test_the_outbox_contains_no_address_of_a_guest(stores: Stores, database: Database) -> None:
    """A message in the outbox names the invitation and not the guest's address, which is looked up on delivery."""
    await invite_in_store(stores, (await book_session(stores.bookings)).session_id)

    async with database.connection() as connection:
        (payload,) = [
            row["payload"] for row in await connection.fetch("select payload from outbox") if b"GUEST" in row["payload"]
        ]
    assert b"grace" not in payload.lower()


async def guests_of(booking_mesh: BookingMesh, session_id: str) -> list[Guest]:
    """Return the guests of a session."""
    return list((await booking_mesh.sessions.ListGuests(ListGuestsRequest(session_id=session_id))).guests)


async def all_guests(stores: Stores, session: Session) -> list[domain.Guest]:
    """Return the guests of a session, read from the database."""
    return await stores.guests.list_of_session(session.session_id, 10, after=None)


async def test_the_rate_limit_of_a_session_ignores_the_case_of_its_id(serve: Serve) -> None:
    """Of forty calls with one session id in different upper and lower case, ten are admitted and thirty limited."""
    mesh = await serve(SERVICES["session"], rate_limit_factor=0.001)
    sessions, session_id = mesh.stub(SessionServiceStub), "abcdef00-0000-7000-8000-000000000000"
    spellings = [
        "".join(each) for each in itertools.islice(itertools.product(*("aA", "bB", "cC", "dD", "eE", "fF")), 40)
    ]
    requests = [
        InviteGuestRequest(session_id=spelling + session_id[6:], email="grace@guests.example", name="Grace Hopper")
        for spelling in spellings
    ]

    answers = await asyncio.gather(*map(sessions.InviteGuest, requests), return_exceptions=True)

    assert Counter(map(type, answers)) == {SessionNotFound: 10, RateLimited: 30}
