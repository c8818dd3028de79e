"""Lists over several outboxes, tested on the user and the gym service."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from mesh.serving.channel import Channels
from operations.outbox.backlog import OutboxState, states_of_all
from operations.outbox.messages import UnknownPage, page_of_messages
from services.gym import app as gym
from services.user import app as user
from solo60.mesh.v1 import outbox_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.serving import MeshForTests, Serve

# Every message is due in a month, so that no relay delivers it.
FILL = """
    insert into outbox
        (message_id, destination, payload, correlation_id, traceparent, create_time, deliver_time, due_time)
    values (gen_random_uuid(), 'any.Service/' || $1, '', '', '', now() + $2::interval, now() + interval '30 days',
        now() + interval '30 days')
"""
SERVICES = ("user", "gym")
ALL = pb.ListMessagesRequest()


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Start both services."""
    return await serve(user.SERVICE, gym.SERVICE)


@pytest.fixture
async def channels(mesh: MeshForTests) -> AsyncIterator[Channels]:
    """Return channels with the operator's key."""
    found = Channels(mesh.settings, lambda: mesh.keys["operator"])
    yield found
    await found.close()


async def fill(mesh: MeshForTests, service: str, names: str, start_s: int, step_s: int) -> None:
    """Write a message for each character of `names`, `step_s` seconds after each other."""
    async with mesh.database(service).connection() as connection:
        for name, second in zip(names, count(start_s, step_s)):
            await connection.execute(FILL, name, timedelta(seconds=second))


async def pages(channels: Channels, size: int, wanted: pb.ListMessagesRequest = ALL) -> list[str]:
    """Return the last characters of the destinations on each page."""
    found, cursor = [], ""
    while True:
        page = await page_of_messages(channels, SERVICES, wanted, size, cursor)
        assert page.failures == {}
        found.append("".join(message.destination[-1] for _, message in page.messages))
        cursor = page.next_cursor
        if not cursor:
            return found


async def test_pages_merge_the_outboxes_by_time(mesh: MeshForTests, channels: Channels) -> None:
    """The pages of two outboxes have each message once, the newest first."""
    await fill(mesh, "user", "adef", 0, 10)
    await fill(mesh, "gym", "bc", 3, 3)

    assert await pages(channels, 2) == ["fe", "dc", "ba"]
    assert await pages(channels, 4) == ["fedc", "ba"]
    assert await pages(channels, 6) == ["fedcba"]
    assert await pages(channels, 2, pb.ListMessagesRequest(destination="any.Service/b")) == ["b"]
    assert await pages(channels, 2, pb.ListMessagesRequest(status=pb.OUTBOX_STATUS_DEAD)) == [""]


async def test_an_old_message_in_front_hides_no_newer_one(mesh: MeshForTests, channels: Channels) -> None:
    """A retried dead letter is first in its outbox although it is old. The newer messages behind it are shown too."""
    await fill(mesh, "gym", "abc", -60, 1)
    await fill(mesh, "user", "yz", 0, 1)
    await fill(mesh, "user", "o", -100, 1)

    assert await pages(channels, 3) == ["ozy", "cba"]


async def test_a_service_without_an_answer_hides_no_other(mesh: MeshForTests, channels: Channels) -> None:
    """The messages and states of the running services are returned, and the error of each other service."""
    await fill(mesh, "user", "ab", 0, 1)

    page = await page_of_messages(channels, ("user", "session"), ALL, 1)
    states = await states_of_all(channels)

    assert [message.destination[-1] for _, message in page.messages] == ["b"]
    assert page.failures.keys() == {"session"}
    assert page.next_cursor.startswith("user:")
    assert {name for name, state in states.items() if isinstance(state, OutboxState)} == set(SERVICES)
    state = states["user"]
    assert isinstance(state, OutboxState)
    assert (state.pending_count, state.due_count, state.oldest_due_age_s, state.dead_count) == (2, 0, None, 0)
    assert state.next_work == "message"


@pytest.mark.parametrize("cursor", ["x", "user", "user:a:b", ",", "user:a,"])
async def test_a_cursor_of_another_form_is_refused(channels: Channels, cursor: str) -> None:
    """A cursor of another form raises UnknownPage, which tells the reader to begin at the first page."""
    with pytest.raises(UnknownPage, match="Begin at the first page"):
        await page_of_messages(channels, SERVICES, ALL, 1, cursor)
