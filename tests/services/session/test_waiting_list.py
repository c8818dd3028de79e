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
from services.session.domain import Period, Session, Wish
from solo60.session.v1.session_pb2 import (
    CancelSessionRequest,
    JoinWaitingListRequest,
    LeaveWaitingListRequest,
    ListWaitingListRequest,
    WaitingListEntry,
)
from solo60.user.v1.user_pb2 import UpdateUserRequest, User, UserState
from tests.services.session.made import HOUR, MINUTE, NOW, held, letters, paid
from tests.services.session.stores import stores_on
from tests.services.session.town import TOMORROW, keyed, order, period
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.database import Database
    from services.session import domain
    from services.session.stores import Stores
    from tests.services.session.town import Town
    from tests.support.postgres import DatabaseOpener


@pytest.fixture
async def database(open_database: DatabaseOpener) -> Database:
    """Connect to a database of sessions that no service runs on."""
    return await open_database("session")


@pytest.fixture
def stores(database: Database) -> Stores:
    """Keep sessions and those who wait in it."""
    return stores_on(database)


async def joined(
    stores: Stores, gym_id: UUID, *, user_id: UUID | None = None, start: datetime = NOW + HOUR, now: datetime = NOW
) -> domain.WaitingListEntry:
    """Let a member of its own wait for an hour."""
    wish = Wish(user_id or uuid4(), gym_id, Period(start, start + HOUR))
    async with stores.waiting_list.transaction() as transaction:
        return await stores.waiting_list.join(transaction, wish, now)


async def told(database: Database) -> list[UUID]:
    """Return the entries whose members are to be mailed that their time is free, in the order of the mails."""
    return [UUID(each.entry_id) for each in await letters(database) if each.template_key == "SPOT_AVAILABLE"]


async def cancel(stores: Stores, session: Session) -> None:
    """Cancel a session."""
    await stores.decisions.cancel(session.session_id, "", now=NOW, in_credits=False)


def wish(user_id: str, gym_id: str, start: datetime = TOMORROW) -> JoinWaitingListRequest:
    """Ask to wait for an hour."""
    return JoinWaitingListRequest(user_id=user_id, gym_id=gym_id, period=period(start))


async def waiting(town: Town, gym_id: str) -> list[WaitingListEntry]:
    """Return who waits for a gym."""
    return list((await town.sessions.ListWaitingList(ListWaitingListRequest(gym_id=gym_id))).entries)


@pytest.mark.requirement("J5")
async def test_all_who_wait_are_mailed_when_a_slot_becomes_free_each_time(town: Town) -> None:
    """All whose periods overlap, each by their own clock; who books first has it, and the others wait on."""
    owner, gym = await town.a_member(), await town.a_gym(name="Field Street Gym")
    session = await town.booked(order(owner, gym))
    first = await town.a_member(email="ada@members.example", time_zone="Asia/Kolkata")
    second = await town.a_member(email="grace@members.example")
    await town.sessions.JoinWaitingList(wish(first, gym))
    await town.sessions.JoinWaitingList(wish(second, gym, TOMORROW + HOUR / 2))

    await town.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))
    await town.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))

    mails = {mail.recipient: mail for mail in await town.mails(4) if mail.subject.strip().startswith("Free again")}
    assert mails.keys() == {"ada@members.example", "grace@members.example"}
    start = f"{TOMORROW:%A} {TOMORROW.day} {TOMORROW:%B %Y}, 23:30 (Asia/Kolkata)"
    assert mails["ada@members.example"].subject.strip() == f"Free again: Field Street Gym, {start}"
    assert len(await town.mails(4)) == 4

    again = await town.booked(order(first, gym))
    await town.sessions.CancelSession(CancelSessionRequest(session_id=again.session_id))
    recipients = [mail.recipient for mail in await town.mails(7) if mail.subject.strip().startswith("Free again")]
    assert sorted(recipients) == ["ada@members.example", "grace@members.example", "grace@members.example"]


@pytest.mark.requirement("J5")
async def test_joining_is_refused_where_there_is_nothing_to_wait_for(town: Town) -> None:
    """Each refusal has its reason, and the list shows those who were taken."""
    member, gym = await town.a_member(), await town.a_gym()
    await town.booked(order(await town.a_member(), gym))
    entry = (await town.sessions.JoinWaitingList(wish(member, gym), metadata=keyed("once"))).entry

    again = town.sessions.JoinWaitingList(wish(member, gym), metadata=keyed("once"))
    assert (await again).entry == entry
    assert (REPLAYED, "true") in tuple(await again.trailing_metadata())
    refusals: list[tuple[JoinWaitingListRequest, type[ServiceError]]] = [
        (wish(member, gym), AlreadyWaiting),
        (wish(member, gym, TOMORROW + HOUR), SlotFree),
        (wish(str(uuid4()), gym), UserNotFound),
        (wish(member, str(uuid4())), GymNotFound),
        (wish(member, gym, TOMORROW - timedelta(days=2)), PeriodPast),
    ]
    for request, refusal in refusals:
        with pytest.raises(refusal):
            await town.sessions.JoinWaitingList(request)

    assert await waiting(town, gym) == [entry]
    for _ in range(2):
        await town.sessions.LeaveWaitingList(LeaveWaitingListRequest(entry_id=entry.entry_id))
    assert await waiting(town, gym) == []


@pytest.mark.requirement("A3")
async def test_a_member_who_leaves_waits_for_nothing(town: Town) -> None:
    """The session service hears of it from the user service."""
    member, gym = await town.a_member(), await town.a_gym()
    await town.booked(order(await town.a_member(), gym))
    await town.sessions.JoinWaitingList(wish(member, gym))

    leaving = User(user_id=member, state=UserState.USER_STATE_DELETED)
    await town.users.UpdateUser(UpdateUserRequest(user=leaving, update_mask=FieldMask(paths=["state"])))

    async def nobody_waits() -> bool:
        return not await waiting(town, gym)

    await eventually(nobody_waits)


async def test_a_waiting_list_is_read_in_pages(town: Town) -> None:
    """AIP-158: longest waiting first, all of a gym or those who wait for a period."""
    gym, elsewhere = await town.a_gym(), await town.a_gym()
    for start in (TOMORROW, TOMORROW + HOUR):
        await town.booked(order(await town.a_member(), gym, start=start))
    entries = []
    for start in (TOMORROW, TOMORROW + HOUR, TOMORROW, TOMORROW + HOUR, TOMORROW):
        answer = await town.sessions.JoinWaitingList(wish(await town.a_member(), gym, start))
        entries.append(answer.entry)

    listed, token = list[WaitingListEntry](), ""
    for _ in range(3):
        page = await town.sessions.ListWaitingList(ListWaitingListRequest(gym_id=gym, page_size=2, page_token=token))
        listed += page.entries
        token = page.next_page_token or token

    assert listed == entries
    request = ListWaitingListRequest(gym_id=gym, period=period(TOMORROW + HOUR))
    assert list((await town.sessions.ListWaitingList(request)).entries) == entries[1::2]
    with pytest.raises(InvalidRequest):
        await town.sessions.ListWaitingList(ListWaitingListRequest(gym_id=elsewhere, page_token=token))


@pytest.mark.requirement("J5")
async def test_those_who_wait_are_told_in_the_order_of_their_coming(stores: Stores, database: Database) -> None:
    """Whose period overlaps the one that is free, but neither who has left nor whose session it was."""
    session = await paid(stores.sessions)
    gym_id = session.order.gym_id
    await paid(stores.sessions, gym_id=gym_id, start=NOW + 2 * HOUR)
    whole = await joined(stores, gym_id)
    part = await joined(stores, gym_id, start=NOW + HOUR / 2, now=NOW + MINUTE)
    await joined(stores, gym_id, start=NOW + 2 * HOUR)
    await joined(stores, gym_id, user_id=session.order.user_id)
    left = await joined(stores, gym_id)
    await stores.waiting_list.leave(left.entry_id, NOW)

    await cancel(stores, session)

    assert await told(database) == [whole.entry_id, part.entry_id]


@pytest.mark.requirement("J5")
async def test_a_hold_that_comes_to_nothing_is_told_to_those_who_began_to_wait_meanwhile(
    stores: Stores, database: Database
) -> None:
    """A card that is declined ten times is no news to those who know that the slot is free."""
    taken = await paid(stores.sessions)
    gym_id = taken.order.gym_id
    before = await joined(stores, gym_id)
    await cancel(stores, taken)
    assert await told(database) == [before.entry_id]

    session = await held(stores.sessions, gym_id=gym_id, now=NOW + MINUTE)
    # By a clock that is slow.
    meanwhile = await joined(stores, gym_id, now=NOW)
    await stores.sessions.release(session.session_id, now=NOW + MINUTE)

    assert await told(database) == [before.entry_id, meanwhile.entry_id]


async def test_of_one_who_joins_many_times_at_once_one_entry_is_made(stores: Stores) -> None:
    """A unique index decides; who has left may wait again."""
    gym_id, user_id = (await paid(stores.sessions)).order.gym_id, uuid4()

    answers = await asyncio.gather(
        *[joined(stores, gym_id, user_id=user_id) for _ in range(10)], return_exceptions=True
    )

    (entry,) = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert {type(answer) for answer in answers} == {type(entry), AlreadyWaiting}
    await stores.waiting_list.leave(entry.entry_id, NOW)
    await stores.waiting_list.leave(entry.entry_id, NOW)
    assert (await joined(stores, gym_id, user_id=user_id)).entry_id != entry.entry_id


@pytest.mark.requirement("J5")
async def test_who_joins_as_the_slot_becomes_free_is_told_now_or_by_mail(stores: Stores, database: Database) -> None:
    """Nobody waits for a free slot that nobody tells of."""
    for _ in range(25):
        session = await paid(stores.sessions)
        _, answer = await asyncio.gather(
            cancel(stores, session), joined(stores, session.order.gym_id), return_exceptions=True
        )
        if not isinstance(answer, SlotFree):
            assert not isinstance(answer, BaseException)
            assert (await told(database)).count(answer.entry_id) == 1


async def test_an_unknown_entry_is_not_left(stores: Stores) -> None:
    """The reason names what is missing."""
    with pytest.raises(WaitingListEntryNotFound):
        await stores.waiting_list.leave(uuid4(), NOW)
