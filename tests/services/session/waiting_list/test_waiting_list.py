from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import (
    AlreadyWaiting,
    GymNotFound,
    InvalidRequest,
    PeriodPast,
    ServiceError,
    SlotFree,
    UserNotFound,
    WaitingListEntryNotFound,
)
from interceptors.idempotency import REPLAYED
from services.session.sessions.domain import Period
from services.session.waiting_list.domain import WaitRequest
from solo60.session.v1.session_pb2 import (
    CancelSessionRequest,
    JoinWaitingListRequest,
    LeaveWaitingListRequest,
    ListWaitingListRequest,
    WaitingListEntry,
)
from solo60.user.v1.user_pb2 import UpdateUserRequest, User, UserState
from tests.services.session.booking_mesh import TOMORROW, book_request, period, with_key
from tests.services.session.stored_sessions import HOUR, MINUTE, NOW, QUOTE, book_session, hold_session, pending_mails
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.data.database import Database
    from services.session.sessions.domain import Session
    from services.session.stores import Stores
    from services.session.waiting_list import domain
    from tests.services.session.booking_mesh import BookingMesh


async def join_in_store(
    stores: Stores, gym_id: UUID, *, user_id: UUID | None = None, start: datetime = NOW + HOUR, now: datetime = NOW
) -> domain.WaitingListEntry:
    """Let a new member join the waiting list for an hour."""
    request = WaitRequest(user_id or uuid4(), gym_id, Period(start, start + HOUR))
    async with stores.waiting_list.transaction() as tx:
        return await stores.waiting_list.join(tx, request, QUOTE, now)


async def mailed_entries(database: Database) -> list[UUID]:
    """Return the entries with a pending mail about a free slot, in the order of the mails."""
    return [UUID(each.entry_id) for each in await pending_mails(database) if each.template_key == "SPOT_AVAILABLE"]


async def cancel(stores: Stores, session: Session) -> None:
    """Cancel a session."""
    await stores.cancellations.cancel(session.session_id, "", now=NOW, in_credits=False)


def wait_request(user_id: str, gym_id: str, start: datetime = TOMORROW) -> JoinWaitingListRequest:
    """Return a request to join the waiting list for an hour."""
    return JoinWaitingListRequest(user_id=user_id, gym_id=gym_id, period=period(start))


async def waiting_entries(booking_mesh: BookingMesh, gym_id: str) -> list[WaitingListEntry]:
    """Return the waiting list of a gym."""
    return list((await booking_mesh.sessions.ListWaitingList(ListWaitingListRequest(gym_id=gym_id))).entries)


@pytest.mark.requirement("J5")
async def test_every_waiting_member_is_mailed_each_time_a_slot_becomes_free(booking_mesh: BookingMesh) -> None:
    """Whenever a slot becomes free, each member with an overlapping period is mailed in that member's time zone.

    A member who books the slot leaves the list.
    """
    owner, gym = await booking_mesh.create_member(), await booking_mesh.create_gym(name="Field Street Gym")
    session = await booking_mesh.book(book_request(owner, gym))
    first = await booking_mesh.create_member(email="ada@members.example", time_zone="Asia/Kolkata")
    second = await booking_mesh.create_member(email="grace@members.example")
    await booking_mesh.sessions.JoinWaitingList(wait_request(first, gym))
    await booking_mesh.sessions.JoinWaitingList(wait_request(second, gym, TOMORROW + HOUR / 2))

    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))

    mails = {
        mail.recipient: mail
        for mail in await booking_mesh.wait_for_mails(4)
        if mail.subject.strip().startswith("Free again")
    }
    assert mails.keys() == {"ada@members.example", "grace@members.example"}
    start = f"{TOMORROW:%A} {TOMORROW.day} {TOMORROW:%B %Y}, 23:30 (Asia/Kolkata)"
    assert mails["ada@members.example"].subject.strip() == f"Free again: Field Street Gym, {start}"
    assert len(await booking_mesh.wait_for_mails(4)) == 4

    again = await booking_mesh.book(book_request(first, gym))
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=again.session_id))
    recipients = [
        mail.recipient for mail in await booking_mesh.wait_for_mails(7) if mail.subject.strip().startswith("Free again")
    ]
    assert sorted(recipients) == ["ada@members.example", "grace@members.example", "grace@members.example"]


@pytest.mark.requirement("J5")
async def test_an_impossible_wait_is_rejected_with_the_reason(booking_mesh: BookingMesh) -> None:
    """Joining twice, for a free slot, for an unknown user or gym, or for the past is rejected, and not listed."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.book(book_request(await booking_mesh.create_member(), gym))
    entry = (await booking_mesh.sessions.JoinWaitingList(wait_request(member, gym), metadata=with_key("once"))).entry

    again = booking_mesh.sessions.JoinWaitingList(wait_request(member, gym), metadata=with_key("once"))
    assert (await again).entry == entry
    assert (REPLAYED, "true") in tuple(await again.trailing_metadata())
    refusals: list[tuple[JoinWaitingListRequest, type[ServiceError]]] = [
        (wait_request(member, gym), AlreadyWaiting),
        (wait_request(member, gym, TOMORROW + HOUR), SlotFree),
        (wait_request(str(uuid4()), gym), UserNotFound),
        (wait_request(member, str(uuid4())), GymNotFound),
        (wait_request(member, gym, TOMORROW - timedelta(days=2)), PeriodPast),
    ]
    for request, refusal in refusals:
        with pytest.raises(refusal):
            await booking_mesh.sessions.JoinWaitingList(request)

    assert await waiting_entries(booking_mesh, gym) == [entry]
    for _ in range(2):
        await booking_mesh.sessions.LeaveWaitingList(LeaveWaitingListRequest(entry_id=entry.entry_id))
    assert await waiting_entries(booking_mesh, gym) == []


@pytest.mark.requirement("A3")
async def test_a_deleted_user_is_removed_from_the_waiting_list(booking_mesh: BookingMesh) -> None:
    """Deleting a user removes that user's entries from the waiting list."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.book(book_request(await booking_mesh.create_member(), gym))
    await booking_mesh.sessions.JoinWaitingList(wait_request(member, gym))

    leaving = User(user_id=member, state=UserState.USER_STATE_DELETED)
    await booking_mesh.users.UpdateUser(UpdateUserRequest(user=leaving, update_mask=FieldMask(paths=["state"])))

    async def nobody_waits() -> bool:
        return not await waiting_entries(booking_mesh, gym)

    await eventually(nobody_waits)


async def test_a_waiting_list_is_listed_in_pages(booking_mesh: BookingMesh) -> None:
    """A waiting list is listed in pages, longest waiting first, for a whole gym or for one period (AIP-158)."""
    gym, elsewhere = await booking_mesh.create_gym(), await booking_mesh.create_gym()
    for start in (TOMORROW, TOMORROW + HOUR):
        await booking_mesh.book(book_request(await booking_mesh.create_member(), gym, start=start))
    entries = []
    for start in (TOMORROW, TOMORROW + HOUR, TOMORROW, TOMORROW + HOUR, TOMORROW):
        answer = await booking_mesh.sessions.JoinWaitingList(
            wait_request(await booking_mesh.create_member(), gym, start)
        )
        entries.append(answer.entry)

    listed, token = list[WaitingListEntry](), ""
    for _ in range(3):
        page = await booking_mesh.sessions.ListWaitingList(
            ListWaitingListRequest(gym_id=gym, page_size=2, page_token=token)
        )
        listed += page.entries
        token = page.next_page_token or token

    assert listed == entries
    request = ListWaitingListRequest(gym_id=gym, period=period(TOMORROW + HOUR))
    assert list((await booking_mesh.sessions.ListWaitingList(request)).entries) == entries[1::2]
    with pytest.raises(InvalidRequest):
        await booking_mesh.sessions.ListWaitingList(ListWaitingListRequest(gym_id=elsewhere, page_token=token))


@pytest.mark.requirement("J5")
async def test_waiting_members_are_mailed_in_order(stores: Stores, database: Database) -> None:
    """Members with an overlapping period are mailed in the order of joining.

    The owner of the cancelled session and members no longer on the list are not mailed.
    """
    session = await book_session(stores.bookings)
    gym_id = session.order.gym_id
    await book_session(stores.bookings, gym_id=gym_id, start=NOW + 2 * HOUR)
    whole = await join_in_store(stores, gym_id)
    part = await join_in_store(stores, gym_id, start=NOW + HOUR / 2, now=NOW + MINUTE)
    await join_in_store(stores, gym_id, start=NOW + 2 * HOUR)
    await join_in_store(stores, gym_id, user_id=session.order.user_id)
    left = await join_in_store(stores, gym_id)
    await stores.waiting_list.leave(left.entry_id, NOW)

    await cancel(stores, session)

    assert await mailed_entries(database) == [whole.entry_id, part.entry_id]


@pytest.mark.requirement("J5")
async def test_a_released_hold_is_announced_only_to_newly_waiting_members(stores: Stores, database: Database) -> None:
    """Releasing an unpaid hold mails only the members that joined during it.

    The others already have a mail about the free slot.
    """
    booked = await book_session(stores.bookings)
    gym_id = booked.order.gym_id
    before = await join_in_store(stores, gym_id)
    await cancel(stores, booked)
    assert await mailed_entries(database) == [before.entry_id]

    session = await hold_session(stores.bookings, gym_id=gym_id, now=NOW + MINUTE)
    # Joined during the hold, by a clock that is slow.
    meanwhile = await join_in_store(stores, gym_id, now=NOW)
    await stores.bookings.release(session.session_id, now=NOW + MINUTE)

    assert await mailed_entries(database) == [before.entry_id, meanwhile.entry_id]


async def test_concurrent_joins_of_one_member_create_one_entry(stores: Stores) -> None:
    """Of ten concurrent joins of one member one succeeds. After leaving, the member may join again."""
    gym_id, user_id = (await book_session(stores.bookings)).order.gym_id, uuid4()

    answers = await asyncio.gather(
        *[join_in_store(stores, gym_id, user_id=user_id) for _ in range(10)], return_exceptions=True
    )

    (entry,) = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert {type(answer) for answer in answers} == {type(entry), AlreadyWaiting}
    await stores.waiting_list.leave(entry.entry_id, NOW)
    await stores.waiting_list.leave(entry.entry_id, NOW)
    assert (await join_in_store(stores, gym_id, user_id=user_id)).entry_id != entry.entry_id


@pytest.mark.requirement("J5")
async def test_joining_while_the_slot_becomes_free_is_rejected_or_mailed(stores: Stores, database: Database) -> None:
    """Joining while the slot is being cancelled either fails with SlotFree or is followed by one mail."""
    for _ in range(25):
        session = await book_session(stores.bookings)
        _, answer = await asyncio.gather(
            cancel(stores, session), join_in_store(stores, session.order.gym_id), return_exceptions=True
        )
        if not isinstance(answer, SlotFree):
            assert not isinstance(answer, BaseException)
            assert (await mailed_entries(database)).count(answer.entry_id) == 1


async def test_an_unknown_entry_cannot_be_left(stores: Stores) -> None:
    """Leaving an unknown entry fails with WaitingListEntryNotFound."""
    with pytest.raises(WaitingListEntryNotFound):
        await stores.waiting_list.leave(uuid4(), NOW)
