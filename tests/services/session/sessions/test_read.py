from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from contracts.errors import InvalidRequest, SessionNotFound, Unavailable
from solo60.session.v1.session_pb2 import (
    SESSION_ORDER_EARLIEST_FIRST,
    SESSION_RELATION_GYM,
    SESSION_RELATION_PAYMENTS,
    SESSION_RELATION_USER,
    SESSION_STATUS_CANCELLED,
    SESSION_STATUS_COMPLETED,
    SESSION_STATUS_CONFIRMED,
    CancelSessionRequest,
    GetSessionRequest,
    ListGymSessionsRequest,
    ListUserSessionsRequest,
    RescheduleSessionRequest,
)
from tests.services.session.booking_mesh import BY_CARD, HOUR, TOMORROW, book_request, period
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.common.v1.period_pb2 import Period
    from solo60.session.v1.session_pb2 import Session
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


async def list_of(booking_mesh: BookingMesh, user_id: str, **filters: Any) -> list[Session]:
    """Return all of a user's sessions that match the filters, read in pages of two."""
    listed: list[Session] = []
    token = ""
    while token or not listed:
        request = ListUserSessionsRequest(user_id=user_id, page_size=2, page_token=token, **filters)
        page = await booking_mesh.sessions.ListUserSessions(request)
        listed += page.sessions
        token = page.next_page_token
        if not token:
            break
    return listed


def hours_of(sessions: list[Session]) -> list[int]:
    """Return the starts of sessions in hours after TOMORROW."""
    return [(session.period.start_time.ToDatetime(UTC) - TOMORROW) // HOUR for session in sessions]


async def test_a_users_sessions_can_be_filtered_and_ordered(booking_mesh: BookingMesh) -> None:
    """Statuses, gym and start restrict a user's list, alone and combined, in both orders and across pages."""
    member, gym, other = await booking_mesh.create_member(), *[await booking_mesh.create_gym() for _ in range(2)]
    for hours in (3, 0, 5, 1, 4):
        await booking_mesh.book(book_request(member, gym, start=TOMORROW + hours * HOUR))
    cancelled = await booking_mesh.book(book_request(member, other, start=TOMORROW + 2 * HOUR))
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=cancelled.session_id))
    start, end = (period(TOMORROW + hours * HOUR).start_time for hours in (1, 4))
    earliest = SESSION_ORDER_EARLIEST_FIRST

    for filters, expected in (
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"order": earliest}, [0, 1, 2, 3, 4, 5]),
        ({"statuses": [SESSION_STATUS_CONFIRMED]}, [5, 4, 3, 1, 0]),
        ({"statuses": [SESSION_STATUS_CONFIRMED, SESSION_STATUS_CANCELLED]}, [5, 4, 3, 2, 1, 0]),
        ({"statuses": [SESSION_STATUS_COMPLETED]}, []),
        ({"statuses": [SESSION_STATUS_COMPLETED], "status": SESSION_STATUS_CANCELLED}, [2]),
        ({"gym_id": other}, [2]),
        ({"gym_id": gym, "order": earliest}, [0, 1, 3, 4, 5]),
        ({"starts_from": start}, [5, 4, 3, 2, 1]),
        ({"starts_before": end}, [3, 2, 1, 0]),
        ({"starts_from": start, "starts_before": end, "order": earliest, "gym_id": gym}, [1, 3]),
        ({"upcoming_only": True, "starts_from": period(TOMORROW - 999 * HOUR).start_time}, [5, 4, 3, 2, 1, 0]),
    ):
        assert hours_of(await list_of(booking_mesh, member, **filters)) == expected, filters


async def test_upcoming_sessions_have_not_started(booking_mesh: BookingMesh) -> None:
    """The filter for upcoming sessions excludes one that has started."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    started, upcoming = [
        await booking_mesh.book(book_request(member, gym, start=TOMORROW + hours * HOUR)) for hours in range(2)
    ]
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute(
            "update sessions set period = tstzrange(now() - interval '1 minute', now() + interval '1 hour')"
            " where session_id = $1",
            UUID(started.session_id),
        )

    assert await list_of(booking_mesh, member, upcoming_only=True) == [upcoming]


@pytest.mark.requirement("C3")
async def test_a_page_token_belongs_to_its_filters(booking_mesh: BookingMesh) -> None:
    """A page token is rejected if the order, the gym, the statuses or the starts have changed."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    for hours in (0, 1):
        await booking_mesh.book(book_request(member, gym, start=TOMORROW + hours * HOUR))
    first = ListUserSessionsRequest(user_id=member, page_size=1)
    token = (await booking_mesh.sessions.ListUserSessions(first)).next_page_token

    changes: list[dict[str, Any]] = [
        {"order": SESSION_ORDER_EARLIEST_FIRST},
        {"gym_id": gym},
        {"statuses": [SESSION_STATUS_CONFIRMED]},
        {"upcoming_only": True},
        {"starts_from": period().start_time},
    ]
    for change in changes:
        with pytest.raises(InvalidRequest):
            await booking_mesh.sessions.ListUserSessions(
                ListUserSessionsRequest(user_id=member, page_token=token, **change)
            )


async def test_a_moved_session_does_not_disturb_the_pages(booking_mesh: BookingMesh) -> None:
    """If the last session of a page is moved, the next page still begins where that page has ended."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    sessions = [await booking_mesh.book(book_request(member, gym, start=TOMORROW + hours * HOUR)) for hours in range(4)]
    first = ListUserSessionsRequest(user_id=member, page_size=2)
    page = await booking_mesh.sessions.ListUserSessions(first)
    await booking_mesh.sessions.RescheduleSession(
        RescheduleSessionRequest(
            session_id=sessions[2].session_id, period=period(TOMORROW - HOUR), etag=sessions[2].etag
        )
    )

    first.page_token = page.next_page_token
    rest = await booking_mesh.sessions.ListUserSessions(first)

    assert hours_of(list(page.sessions)) + hours_of(list(rest.sessions)) == [3, 2, 1, 0]


async def test_a_gyms_sessions_of_a_day_are_listed_in_pages(booking_mesh: BookingMesh) -> None:
    """ListGymSessions lists the sessions that start within the period, earliest first, and those in some statuses."""
    gym, elsewhere = [await booking_mesh.create_gym() for _ in range(2)]
    member = await booking_mesh.create_member()
    for hours in (2, 0, 1, -1, 3):
        await booking_mesh.book(book_request(member, gym, start=TOMORROW + hours * HOUR))
    await booking_mesh.book(book_request(member, elsewhere))
    (cancelled,) = [each for each in await booking_mesh.sessions_of(member) if hours_of([each]) == [1]]
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=cancelled.session_id))

    async def listed(**filters: Any) -> list[Session]:
        request = ListGymSessionsRequest(gym_id=gym, period=period(length=3 * HOUR), page_size=2, **filters)
        page = await booking_mesh.sessions.ListGymSessions(request)
        sessions = list(page.sessions)
        while page.next_page_token:
            request.page_token = page.next_page_token
            page = await booking_mesh.sessions.ListGymSessions(request)
            sessions += page.sessions
        return sessions

    assert hours_of(await listed()) == [0, 1, 2]
    assert hours_of(await listed(statuses=[SESSION_STATUS_CONFIRMED])) == [0, 2]
    unknown = ListGymSessionsRequest(gym_id=str(uuid4()), period=period())
    assert list((await booking_mesh.sessions.ListGymSessions(unknown)).sessions) == []


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
