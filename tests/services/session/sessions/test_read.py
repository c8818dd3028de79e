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
from tests.services.session.booking_mesh import BY_CARD, HOUR, TOMORROW, book_request, period
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.common.v1.period_pb2 import Period
    from tests.services.session.booking_mesh import BookingMesh

EVERYTHING = [SESSION_RELATION_USER, SESSION_RELATION_GYM, SESSION_RELATION_PAYMENTS]


async def test_a_session_includes_the_requested_relations(booking_mesh: BookingMesh) -> None:
    """GetSession returns the requested user, gym and payments as their own services store them."""
    member = await booking_mesh.create_member(display_name="Ada Byron")
    gym = await booking_mesh.create_gym(name="Field Street Gym")
    session = await booking_mesh.book(book_request(member, gym, by=BY_CARD))

    shown = await booking_mesh.sessions.GetSession(GetSessionRequest(session_id=session.session_id, include=EVERYTHING))

    assert shown.session == session
    assert (shown.user.user_id, shown.user.display_name) == (member, "Ada Byron")
    assert (shown.gym.gym_id, shown.gym.name) == (gym, "Field Street Gym")
    assert [payment.money.minor_units for payment in shown.payments] == [1250]


async def test_a_session_without_relations_needs_no_other_service(booking_mesh: BookingMesh) -> None:
    """Relations that were not requested are absent, and their services may be down."""
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    for name in ("user", "gym", "payment"):
        await booking_mesh.stop(name)

    shown = await booking_mesh.sessions.GetSession(GetSessionRequest(session_id=session.session_id))

    assert shown.session == session
    assert not shown.HasField("user")
    assert not shown.HasField("gym")
    assert not shown.payments
    for name in ("user", "gym", "payment"):
        await booking_mesh.start(name)


async def test_an_unreadable_relation_fails_the_call(booking_mesh: BookingMesh) -> None:
    """GetSession fails with UNAVAILABLE if a requested relation cannot be read, so that no answer is incomplete."""
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    await booking_mesh.stop("user")

    with pytest.raises(Unavailable):
        await booking_mesh.sessions.GetSession(GetSessionRequest(session_id=session.session_id, include=EVERYTHING))


async def test_an_unknown_session_is_not_found(booking_mesh: BookingMesh) -> None:
    """Reading an unknown session fails with SessionNotFound."""
    with pytest.raises(SessionNotFound):
        await booking_mesh.find_session(str(uuid4()))


async def test_a_users_sessions_are_listed_in_pages_latest_first(booking_mesh: BookingMesh) -> None:
    """Pages list each session of a user once, the latest first, and the last page has no token (AIP-158)."""
    member = await booking_mesh.create_member()
    other = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    elsewhere = await booking_mesh.create_gym()
    for hours in (2, 0, 4, 1, 3):
        await booking_mesh.book(book_request(member, gym, start=TOMORROW + hours * HOUR))
    # The same period in another gym. The order of the two sessions is stable as well.
    await booking_mesh.book(book_request(member, elsewhere, start=TOMORROW + 2 * HOUR))
    await booking_mesh.book(book_request(other, elsewhere))

    pages: list[list[Period]] = []
    token = ""
    while token or not pages:
        request = ListUserSessionsRequest(user_id=member, page_size=2, page_token=token)
        page = await booking_mesh.sessions.ListUserSessions(request)
        pages.append([session.period for session in page.sessions])
        token = page.next_page_token

    assert [len(page) for page in pages] == [2, 2, 2]
    assert [each for page in pages for each in page] == [
        period(TOMORROW + hours * HOUR) for hours in (4, 3, 2, 2, 1, 0)
    ]
    assert len({session.session_id for session in await booking_mesh.sessions_of(member)}) == 6


async def test_sessions_can_be_listed_by_status(booking_mesh: BookingMesh) -> None:
    """A status filter returns only sessions with that status."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    confirmed = await booking_mesh.book(book_request(member, gym))
    cancelled = await booking_mesh.book(book_request(member, gym, start=TOMORROW + HOUR))
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=cancelled.session_id))

    for status, expected in ((SESSION_STATUS_CONFIRMED, confirmed), (SESSION_STATUS_CANCELLED, cancelled)):
        listed = await booking_mesh.sessions.ListUserSessions(ListUserSessionsRequest(user_id=member, status=status))
        assert [session.session_id for session in listed.sessions] == [expected.session_id]


@pytest.mark.requirement("C3")
async def test_another_users_page_token_is_rejected(booking_mesh: BookingMesh) -> None:
    """A page token is valid only for the list of the user that it was issued for."""
    member = await booking_mesh.create_member()
    other = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    for hours in (0, 1):
        await booking_mesh.book(book_request(member, gym, start=TOMORROW + hours * HOUR))
    token = (
        await booking_mesh.sessions.ListUserSessions(ListUserSessionsRequest(user_id=member, page_size=1))
    ).next_page_token

    with pytest.raises(InvalidRequest):
        await booking_mesh.sessions.ListUserSessions(ListUserSessionsRequest(user_id=other, page_token=token))


async def test_a_user_without_sessions_has_an_empty_list(booking_mesh: BookingMesh) -> None:
    """A user without sessions, even an unknown one, has an empty list."""
    assert await booking_mesh.sessions_of(str(uuid4())) == []


async def test_conflicts_are_whole_booked_periods_in_order(booking_mesh: BookingMesh) -> None:
    """Conflicts are the complete booked periods in order of their start, and adjacent periods are no conflict."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    for hours in (2, 0, 4):
        await booking_mesh.book(book_request(member, gym, start=TOMORROW + hours * HOUR))

    start = TOMORROW + timedelta(minutes=30)
    assert await booking_mesh.busy_periods(gym, start, 3 * HOUR + timedelta(minutes=30)) == [
        period(),
        period(TOMORROW + 2 * HOUR),
    ]
    assert await booking_mesh.busy_periods(gym, TOMORROW + HOUR, HOUR) == []


async def test_cancelled_sessions_and_unknown_gyms_have_no_conflicts(booking_mesh: BookingMesh) -> None:
    """A cancelled session and an unknown gym cause no conflict."""
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))

    assert await booking_mesh.busy_periods(session.gym_id) == []
    assert await booking_mesh.busy_periods(str(uuid4())) == []


async def test_a_confirmed_session_is_completed_after_its_period(booking_mesh: BookingMesh) -> None:
    """A confirmed session is completed once its period has ended."""
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), await booking_mesh.create_gym()))
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute(
            "update sessions set period = tstzrange(lower(period) - $1::interval, upper(period) - $1)",
            timedelta(days=7),
        )

    async def is_completed() -> bool:
        return (await booking_mesh.find_session(session.session_id)).status == SESSION_STATUS_COMPLETED

    await eventually(is_completed)
    assert (await booking_mesh.find_session(session.session_id)).update_time == period(
        TOMORROW - timedelta(days=7)
    ).end_time
