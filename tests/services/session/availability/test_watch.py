from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from pydantic import SecretStr

from contracts.errors import Unavailable
from mesh.serving.channel import Channels
from mesh.serving.process import serving
from services.session.app import SERVICE
from solo60.session.v1.session_pb2 import CancelSessionRequest, WatchAvailabilityRequest
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.services.session.booking_mesh import BY_DECLINED_CARD, HOUR, TOMORROW, book_request, period
from tests.support.eventually import eventually
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.common.v1.period_pb2 import Period
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub
    from tests.services.session.booking_mesh import BookingMesh

TIMEOUT_S = 60


class Watch:
    """Watch on a gym for four hours tomorrow evening."""

    def __init__(self, sessions: SessionServiceAsyncStub, gym: str) -> None:
        request = WatchAvailabilityRequest(gym_id=gym, period=period(TOMORROW, 4 * HOUR))
        self.call = sessions.WatchAvailability(request)
        self._answers = self.call.__aiter__()

    async def next_busy_periods(self) -> list[Period]:
        """Return the booked periods of the next message."""
        async with asyncio.timeout(TIMEOUT_S):
            return list((await anext(self._answers)).busy_periods)


@asynccontextmanager
async def another_instance(booking_mesh: BookingMesh) -> AsyncIterator[SessionServiceAsyncStub]:
    """Serve sessions a second time on the same database, and yield a stub of that instance alone."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    own = {
        "session_service_url": address,
        "service_api_key": SecretStr(booking_mesh.mesh.keys["session"]),
        "database_url": SecretStr(booking_mesh.urls["session"]),
    }
    settings = booking_mesh.mesh.settings.model_copy(update=own)
    channels = Channels(settings, lambda: booking_mesh.mesh.keys["operator"])
    async with serving(SERVICE, settings, address):
        try:
            yield channels.stub(SessionServiceStub)
        finally:
            await channels.close()


async def test_a_watch_sends_the_current_state_and_every_change(booking_mesh: BookingMesh) -> None:
    """The first message holds the current bookings, and each later one replaces them completely."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await booking_mesh.book(book_request(member, gym))
    watch = Watch(booking_mesh.sessions, gym)

    assert await watch.next_busy_periods() == [period()]
    later = await booking_mesh.book(book_request(member, gym, start=TOMORROW + 2 * HOUR))
    assert await watch.next_busy_periods() == [period(), period(TOMORROW + 2 * HOUR)]
    await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=later.session_id))
    assert await watch.next_busy_periods() == [period()]
    watch.call.cancel()


async def test_a_watch_reports_changes_of_another_instance(booking_mesh: BookingMesh) -> None:
    """A watch reports bookings and cancellations made by another process on the same database."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    watch = Watch(booking_mesh.sessions, gym)
    assert await watch.next_busy_periods() == []

    async with another_instance(booking_mesh) as elsewhere:
        booked = await elsewhere.BookSession(book_request(member, gym))
        assert await watch.next_busy_periods() == [period()]
        await elsewhere.CancelSession(CancelSessionRequest(session_id=booked.session.session_id))
        assert await watch.next_busy_periods() == []
    watch.call.cancel()


async def test_a_watch_reports_only_changes_of_its_own_window(booking_mesh: BookingMesh) -> None:
    """A watch sends a message only if the booked periods of its gym and period change."""
    member = await booking_mesh.create_member()
    gym = await booking_mesh.create_gym()
    elsewhere = await booking_mesh.create_gym()
    watch = Watch(booking_mesh.sessions, gym)
    assert await watch.next_busy_periods() == []

    await booking_mesh.book(book_request(member, elsewhere))
    await booking_mesh.book(book_request(member, gym, start=TOMORROW + 4 * HOUR))
    await booking_mesh.book(book_request(member, gym, start=TOMORROW + timedelta(days=7)))
    await booking_mesh.book(book_request(member, gym))

    assert await watch.next_busy_periods() == [period()]
    watch.call.cancel()


async def test_a_watch_reports_a_slot_freed_by_a_failed_payment(booking_mesh: BookingMesh) -> None:
    """A slot held during its payment is reported as free again after the payment fails."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    watch = Watch(booking_mesh.sessions, gym)
    assert await watch.next_busy_periods() == []

    with pytest.raises(Exception, match="card"):
        await booking_mesh.book(book_request(member, gym, by=BY_DECLINED_CARD))
    await booking_mesh.book(book_request(member, gym, start=TOMORROW + HOUR))

    async with asyncio.timeout(TIMEOUT_S):
        while await watch.next_busy_periods() != [period(TOMORROW + HOUR)]:
            pass
    watch.call.cancel()


async def test_fifty_watches_share_one_database_connection(booking_mesh: BookingMesh) -> None:
    """Fifty watches need one listening connection, and none of the pool."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    watches = [Watch(booking_mesh.sessions, gym) for _ in range(50)]
    assert await asyncio.gather(*[watch.next_busy_periods() for watch in watches]) == [[]] * 50

    await booking_mesh.book(book_request(member, gym))

    assert await asyncio.gather(*[watch.next_busy_periods() for watch in watches]) == [[period()]] * 50
    assert await listeners(booking_mesh) == 1
    for watch in watches:
        watch.call.cancel()


@pytest.mark.requirement("J6")
async def test_a_change_missed_without_a_listener_is_reported_later(booking_mesh: BookingMesh) -> None:
    """A change made while the listening connection is down is reported after the service listens again."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    watch = Watch(booking_mesh.sessions, gym)
    assert await watch.next_busy_periods() == []

    async def is_listening() -> bool:
        return await listeners(booking_mesh) == 1

    await eventually(is_listening)
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("lock table sessions in exclusive mode")
        killed = await connection.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where datname = current_database() and application_name = 'solo60 listening to availability'"
        )
    await booking_mesh.book(book_request(member, gym))

    assert killed == 1
    assert await watch.next_busy_periods() == [period()]
    await booking_mesh.sessions.CancelSession(
        CancelSessionRequest(session_id=(await booking_mesh.sessions_of(member))[0].session_id)
    )
    assert await watch.next_busy_periods() == []
    watch.call.cancel()


async def test_a_cancelled_watch_ends_on_the_server(booking_mesh: BookingMesh) -> None:
    """Cancelling twenty watches ends their tasks on the server."""
    gym = await booking_mesh.create_gym()
    before = len(asyncio.all_tasks())
    watches = [Watch(booking_mesh.sessions, gym) for _ in range(20)]
    await asyncio.gather(*[watch.next_busy_periods() for watch in watches])

    for watch in watches:
        watch.call.cancel()

    async def are_gone() -> bool:
        # The first call opened a connection, which runs its own tasks.
        return len(asyncio.all_tasks()) < before + 10

    await eventually(are_gone)


async def test_a_stopping_service_does_not_wait_for_watches(booking_mesh: BookingMesh) -> None:
    """A stopping service ends watches within half of its drain grace, with UNAVAILABLE and advice to reopen them."""
    gym = await booking_mesh.create_gym()
    watch = Watch(booking_mesh.sessions, gym)
    assert await watch.next_busy_periods() == []

    async with asyncio.timeout(booking_mesh.mesh.settings.drain_grace_s / 2):
        await booking_mesh.stop("session")

    with pytest.raises(Unavailable, match="Open the watch again"):
        await watch.next_busy_periods()
    assert await watch.call.code() is grpc.StatusCode.UNAVAILABLE


async def listeners(booking_mesh: BookingMesh) -> int:
    """Count the connections that listen for changes."""
    async with booking_mesh.mesh.database("session").connection() as connection:
        return int(
            await connection.fetchval(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and application_name = 'solo60 listening to availability'"
            )
        )
