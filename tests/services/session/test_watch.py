from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from pydantic import SecretStr

from contracts.errors import Unavailable
from mesh.channel import Channels
from mesh.process import serving
from services.session.app import SERVICE
from solo60.session.v1.session_pb2 import CancelSessionRequest, WatchAvailabilityRequest
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.services.session.town import BY_DECLINED_CARD, HOUR, TOMORROW, order, period
from tests.support.eventually import eventually
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.common.v1.period_pb2 import Period
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub
    from tests.services.session.town import Town

PATIENCE_S = 60


class Watch:
    """One who watches a gym tomorrow evening."""

    def __init__(self, sessions: SessionServiceAsyncStub, gym: str) -> None:
        request = WatchAvailabilityRequest(gym_id=gym, period=period(TOMORROW, 4 * HOUR))
        self.call = sessions.WatchAvailability(request)
        self._answers = self.call.__aiter__()

    async def told(self) -> list[Period]:
        """Return what the next message says is booked."""
        async with asyncio.timeout(PATIENCE_S):
            return list((await anext(self._answers)).busy_periods)


@asynccontextmanager
async def another_instance(town: Town) -> AsyncIterator[SessionServiceAsyncStub]:
    """Serve sessions a second time, on the same database, and yield a stub for that instance alone."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    own = {
        "session_service_url": address,
        "service_api_key": SecretStr(town.mesh.keys["session"]),
        "database_url": SecretStr(town.urls["session"]),
    }
    settings = town.mesh.settings.model_copy(update=own)
    channels = Channels(settings, lambda: town.mesh.keys["operator"])
    async with serving(SERVICE, settings, address):
        try:
            yield channels.stub(SessionServiceStub)
        finally:
            await channels.close()


async def test_a_watcher_is_told_at_once_and_then_of_every_change(town: Town) -> None:
    """The first message is how it stands; each further one is complete and replaces it."""
    member, gym = await town.a_member(), await town.a_gym()
    await town.booked(order(member, gym))
    watch = Watch(town.sessions, gym)

    assert await watch.told() == [period()]
    later = await town.booked(order(member, gym, start=TOMORROW + 2 * HOUR))
    assert await watch.told() == [period(), period(TOMORROW + 2 * HOUR)]
    await town.sessions.CancelSession(CancelSessionRequest(session_id=later.session_id))
    assert await watch.told() == [period()]
    watch.call.cancel()


async def test_a_watcher_sees_what_another_instance_books_and_cancels(town: Town) -> None:
    """Changes travel through the database, so it does not matter which process makes them."""
    member, gym = await town.a_member(), await town.a_gym()
    watch = Watch(town.sessions, gym)
    assert await watch.told() == []

    async with another_instance(town) as elsewhere:
        booked = await elsewhere.BookSession(order(member, gym))
        assert await watch.told() == [period()]
        await elsewhere.CancelSession(CancelSessionRequest(session_id=booked.session.session_id))
        assert await watch.told() == []
    watch.call.cancel()


async def test_a_watcher_hears_nothing_of_what_does_not_concern_it(town: Town) -> None:
    """A message is sent when the window's booked periods change, and only then."""
    member, gym, elsewhere = await town.a_member(), await town.a_gym(), await town.a_gym()
    watch = Watch(town.sessions, gym)
    assert await watch.told() == []

    await town.booked(order(member, elsewhere))
    await town.booked(order(member, gym, start=TOMORROW + 4 * HOUR))
    await town.booked(order(member, gym, start=TOMORROW + timedelta(days=7)))
    await town.booked(order(member, gym))

    assert await watch.told() == [period()]
    watch.call.cancel()


async def test_a_slot_is_free_again_for_watchers_when_the_payment_fails(town: Town) -> None:
    """A slot that is held while the member is charged counts as booked until it is released."""
    member, gym = await town.a_member(), await town.a_gym()
    watch = Watch(town.sessions, gym)
    assert await watch.told() == []

    with pytest.raises(Exception, match="card"):
        await town.booked(order(member, gym, by=BY_DECLINED_CARD))
    await town.booked(order(member, gym, start=TOMORROW + HOUR))

    async with asyncio.timeout(PATIENCE_S):
        while await watch.told() != [period(TOMORROW + HOUR)]:
            pass
    watch.call.cancel()


async def test_fifty_watchers_share_one_connection_to_the_database(town: Town) -> None:
    """However many watch, the process listens once, and no watcher keeps a connection of the pool."""
    member, gym = await town.a_member(), await town.a_gym()
    watches = [Watch(town.sessions, gym) for _ in range(50)]
    assert await asyncio.gather(*[watch.told() for watch in watches]) == [[]] * 50

    await town.booked(order(member, gym))

    assert await asyncio.gather(*[watch.told() for watch in watches]) == [[period()]] * 50
    assert await listeners(town) == 1
    for watch in watches:
        watch.call.cancel()


async def test_a_change_made_while_nobody_listened_is_told_later(town: Town) -> None:
    """J6: the listening connection dies, a change follows; when the service listens again, watchers look again."""
    member, gym = await town.a_member(), await town.a_gym()
    watch = Watch(town.sessions, gym)
    assert await watch.told() == []

    async def listens() -> bool:
        return await listeners(town) == 1

    await eventually(listens)
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("lock table sessions in exclusive mode")
        killed = await connection.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where datname = current_database() and application_name = 'solo60 listening to availability'"
        )
    await town.booked(order(member, gym))

    assert killed == 1
    assert await watch.told() == [period()]
    await town.sessions.CancelSession(CancelSessionRequest(session_id=(await town.sessions_of(member))[0].session_id))
    assert await watch.told() == []
    watch.call.cancel()


async def test_a_watcher_who_leaves_leaves_nothing_behind(town: Town) -> None:
    """T-b3: a cancelled stream ends on the server too."""
    gym = await town.a_gym()
    before = len(asyncio.all_tasks())
    watches = [Watch(town.sessions, gym) for _ in range(20)]
    await asyncio.gather(*[watch.told() for watch in watches])

    for watch in watches:
        watch.call.cancel()

    async def are_gone() -> bool:
        # The first call opened a connection, which keeps tasks of its own.
        return len(asyncio.all_tasks()) < before + 10

    await eventually(are_gone)


async def test_a_stopping_service_does_not_wait_for_its_watchers(town: Town) -> None:
    """Draining ends streams that have no end of their own, long before its grace does, and says what to do."""
    gym = await town.a_gym()
    watch = Watch(town.sessions, gym)
    assert await watch.told() == []

    async with asyncio.timeout(town.mesh.settings.drain_grace_s / 2):
        await town.stop("session")

    with pytest.raises(Unavailable, match="Open the watch again"):
        await watch.told()
    assert await watch.call.code() is grpc.StatusCode.UNAVAILABLE


async def listeners(town: Town) -> int:
    """Count the connections that listen for changes."""
    async with town.mesh.database("session").connection() as connection:
        return int(
            await connection.fetchval(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and application_name = 'solo60 listening to availability'"
            )
        )
