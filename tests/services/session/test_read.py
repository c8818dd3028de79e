from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import InvalidRequest, SessionNotFound, Unavailable
from solo60.session.v1.session_pb2 import (
    SESSION_RELATION_GYM,
    SESSION_RELATION_PAYMENTS,
    SESSION_RELATION_USER,
    SESSION_STATUS_CANCELLED,
    SESSION_STATUS_COMPLETED,
    SESSION_STATUS_CONFIRMED,
    CancelSessionRequest,
    GetSessionRequest,
    ListUserSessionsRequest,
)
from tests.services.session.town import BY_CARD, HOUR, TOMORROW, order, period
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.common.v1.period_pb2 import Period
    from tests.services.session.town import Town

EVERYTHING = [SESSION_RELATION_USER, SESSION_RELATION_GYM, SESSION_RELATION_PAYMENTS]


async def test_a_session_is_shown_with_what_was_asked_for(town: Town) -> None:
    """A session comes with its user, gym and payments, all of them as their services have them."""
    member, gym = await town.a_member(display_name="Ada Byron"), await town.a_gym(name="Field Street Gym")
    session = await town.booked(order(member, gym, by=BY_CARD))

    shown = await town.sessions.GetSession(GetSessionRequest(session_id=session.session_id, include=EVERYTHING))

    assert shown.session == session
    assert (shown.user.user_id, shown.user.display_name) == (member, "Ada Byron")
    assert (shown.gym.gym_id, shown.gym.name) == (gym, "Field Street Gym")
    assert [payment.money.minor_units for payment in shown.payments] == [1250]


async def test_a_session_alone_asks_no_other_service(town: Town) -> None:
    """What was not asked for is absent, and need not be reachable."""
    session = await town.booked(order(await town.a_member(), await town.a_gym()))
    for name in ("user", "gym", "payment"):
        await town.stop(name)

    shown = await town.sessions.GetSession(GetSessionRequest(session_id=session.session_id))

    assert shown.session == session
    assert not shown.HasField("user")
    assert not shown.HasField("gym")
    assert not shown.payments
    for name in ("user", "gym", "payment"):
        await town.start(name)


async def test_a_relation_that_cannot_be_read_fails_the_call(town: Town) -> None:
    """An answer is never silently incomplete."""
    session = await town.booked(order(await town.a_member(), await town.a_gym()))
    await town.stop("user")

    with pytest.raises(Unavailable):
        await town.sessions.GetSession(GetSessionRequest(session_id=session.session_id, include=EVERYTHING))


async def test_an_unknown_session_is_not_found(town: Town) -> None:
    """The reason names what is missing."""
    with pytest.raises(SessionNotFound):
        await town.session(str(uuid4()))


async def test_a_users_sessions_are_listed_latest_first_page_by_page(town: Town) -> None:
    """AIP-158: pages follow each other without a gap or a repetition, and the last has no token."""
    member, other, gym = await town.a_member(), await town.a_member(), await town.a_gym()
    elsewhere = await town.a_gym()
    for hours in (2, 0, 4, 1, 3):
        await town.booked(order(member, gym, start=TOMORROW + hours * HOUR))
    # The same period in another gym: the order between the two is fixed all the same.
    await town.booked(order(member, elsewhere, start=TOMORROW + 2 * HOUR))
    await town.booked(order(other, elsewhere))

    pages: list[list[Period]] = []
    token = ""
    while token or not pages:
        request = ListUserSessionsRequest(user_id=member, page_size=2, page_token=token)
        page = await town.sessions.ListUserSessions(request)
        pages.append([session.period for session in page.sessions])
        token = page.next_page_token

    assert [len(page) for page in pages] == [2, 2, 2]
    assert [each for page in pages for each in page] == [
        period(TOMORROW + hours * HOUR) for hours in (4, 3, 2, 2, 1, 0)
    ]
    assert len({session.session_id for session in await town.sessions_of(member)}) == 6


async def test_sessions_can_be_listed_by_status(town: Town) -> None:
    """A filter leaves only what it names."""
    member, gym = await town.a_member(), await town.a_gym()
    kept = await town.booked(order(member, gym))
    dropped = await town.booked(order(member, gym, start=TOMORROW + HOUR))
    await town.sessions.CancelSession(CancelSessionRequest(session_id=dropped.session_id))

    for status, expected in ((SESSION_STATUS_CONFIRMED, kept), (SESSION_STATUS_CANCELLED, dropped)):
        listed = await town.sessions.ListUserSessions(ListUserSessionsRequest(user_id=member, status=status))
        assert [session.session_id for session in listed.sessions] == [expected.session_id]


@pytest.mark.requirement("C3")
async def test_a_page_token_of_another_user_is_refused(town: Town) -> None:
    """A token continues the list that it came from."""
    member, other, gym = await town.a_member(), await town.a_member(), await town.a_gym()
    for hours in (0, 1):
        await town.booked(order(member, gym, start=TOMORROW + hours * HOUR))
    token = (await town.sessions.ListUserSessions(ListUserSessionsRequest(user_id=member, page_size=1))).next_page_token

    with pytest.raises(InvalidRequest):
        await town.sessions.ListUserSessions(ListUserSessionsRequest(user_id=other, page_token=token))


async def test_a_user_without_sessions_has_an_empty_list(town: Town) -> None:
    """Users are not looked up: an unknown one has no sessions either."""
    assert await town.sessions_of(str(uuid4())) == []


async def test_conflicts_are_the_whole_booked_periods_by_start(town: Town) -> None:
    """The answer shows when a gym is taken, in full, and nothing of who took it; periods that touch do not collide."""
    member, gym = await town.a_member(), await town.a_gym()
    for hours in (2, 0, 4):
        await town.booked(order(member, gym, start=TOMORROW + hours * HOUR))

    start = TOMORROW + timedelta(minutes=30)
    assert await town.busy(gym, start, 3 * HOUR + timedelta(minutes=30)) == [period(), period(TOMORROW + 2 * HOUR)]
    assert await town.busy(gym, TOMORROW + HOUR, HOUR) == []


async def test_cancelled_sessions_and_unknown_gyms_collide_with_nothing(town: Town) -> None:
    """Only a session that holds its slot is a conflict."""
    session = await town.booked(order(await town.a_member(), await town.a_gym()))
    await town.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))

    assert await town.busy(session.gym_id) == []
    assert await town.busy(str(uuid4())) == []


async def test_a_session_whose_period_is_over_is_completed(town: Town) -> None:
    """A confirmed session ends with its period, and holds the slot no longer."""
    session = await town.booked(order(await town.a_member(), await town.a_gym()))
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute(
            "update sessions set period = tstzrange(lower(period) - $1::interval, upper(period) - $1)",
            timedelta(days=7),
        )

    async def is_completed() -> bool:
        return (await town.session(session.session_id)).status == SESSION_STATUS_COMPLETED

    await eventually(is_completed)
    assert (await town.session(session.session_id)).update_time == period(TOMORROW - timedelta(days=7)).end_time
