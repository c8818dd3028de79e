from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from mesh.outbox import call_later, publish
from mesh.outbox.message import Status, Verdict
from mesh.outbox.store import LONGEST_RUN
from solo60.example.v1.echo_pb2 import KeepRequest, OnHeardRequest
from solo60.example.v1.events_pb2 import Heard
from tests.mesh.outbox.post import over_both
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from tests.mesh.outbox.post import Post

DELIVERED = Verdict(Status.DELIVERED, 0)


async def say_many(post: Post, count: int, places: int) -> None:
    """Publish events that take turns in as many places."""
    async with post.database.transaction() as connection:
        for number in range(count):
            await publish(connection, Heard(text=str(number), place=f"place {number % places}"))


def assert_in_order(post: Post, places: int) -> None:
    """Check that in each place the texts were heard in the order of their numbers."""
    for place in range(places):
        texts = [int(text) for text in post.heard(f"place {place}")]
        assert texts == sorted(texts)


@over_both
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_relays_beside_each_other_deliver_nothing_twice_and_all_in_order(post: Post, count: int) -> None:
    """Two relays on one outbox: no duplicate, and the order of each of a hundred aggregates is kept."""
    await say_many(post, count, places=100)

    async with post.relay(seed=1).running(), post.relay(seed=2).running():
        await post.until_nothing_pends()

    keys = Counter(key for _, _, key in post.echo.servicer.heard)
    assert len(keys) == count
    assert set(keys.values()) == {1}
    assert_in_order(post, places=100)


async def test_what_is_leased_is_nobody_elses(post: Post) -> None:
    """Part 1: claims of several relays at once share what is due and have nothing in common."""
    await say_many(post, 200, places=200)

    claims = await asyncio.gather(*[post.store.claim(uuid.uuid4(), 60) for _ in range(4)])

    claimed = [message.message_id for runs in claims for run in runs for message in run]
    assert len(claimed) == len(set(claimed)) == 200


async def test_a_run_is_the_next_of_an_aggregate_and_nobody_overtakes_it(post: Post) -> None:
    """What follows a message that is being delivered is not given to anybody else."""
    await say_many(post, LONGEST_RUN + 5, places=1)

    ((*run,),) = await post.store.claim(uuid.uuid4(), 10)
    others = await post.store.claim(uuid.uuid4(), 10)

    assert [OnHeardRequest.FromString(each.payload).event.text for each in run] == [str(n) for n in range(LONGEST_RUN)]
    assert others == []


async def test_the_lease_of_a_dead_relay_runs_out(post: Post) -> None:
    """What a relay had taken when it died is taken by another when the lease is over; here it is cut short."""
    await say_many(post, 10, places=2)
    dead = uuid.uuid4()
    await post.store.claim(dead, 10)

    async with post.relay().running():
        assert await post.count("pending") == 10
        async with post.database.connection() as connection:
            await connection.execute("update outbox set due_time = now() where lease_holder = $1", dead)
        await post.until_nothing_pends()

    assert_in_order(post, places=2)


async def test_the_late_word_of_a_relay_that_lost_its_lease_counts_for_nothing(post: Post) -> None:
    """A relay that was paused for longer than its lease is fenced off."""
    await post.say("contested")
    slow, quick = uuid.uuid4(), uuid.uuid4()
    ((message,),) = await post.store.claim(slow, 1)
    async with post.database.connection() as connection:
        await connection.execute("update outbox set due_time = now()")
    await post.store.claim(quick, 1)

    await post.store.settle(slow, [(message, Verdict(Status.DEAD, 1, "late"))])
    assert await post.count("pending") == 1
    await post.store.settle(quick, [(message, DELIVERED)])

    assert await post.count("delivered") == 1


async def test_a_paused_relay_delivers_nothing_more_under_its_old_lease(post: Post) -> None:
    """After a pause it gives up what it has not begun, by its own clock, without asking anybody."""
    await say_many(post, 3, places=1)
    now_s = 0.0
    relay = post.relay(clock=lambda: now_s)

    async def stop_the_world() -> None:
        nonlocal now_s
        if len(post.echo.servicer.heard) == 1:
            now_s += 31.0

    post.echo.servicer.hook = stop_the_world  # type: ignore[method-assign]
    ((*run,),) = await post.store.claim(relay._holder, 10)

    await relay._deliver_run(run, claimed_at=0.0)

    assert post.heard("place 0") == ["0"]


async def test_a_long_delivery_keeps_its_lease(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed for as long as a relay lives."""
    monkeypatch.setattr("mesh.outbox.relay.RENEW_INTERVAL_S", 0.01)
    gate = asyncio.Event()
    post.echo.servicer.hook = gate.wait  # type: ignore[assignment, method-assign]
    await post.say("slow")

    async def due_time() -> object:
        async with post.database.connection() as connection:
            return await connection.fetchval("select due_time from outbox where lease_holder is not null")

    async with post.relay().running():
        await eventually(lambda: is_not_none(due_time))
        first = await due_time()

        async def is_renewed() -> bool:
            return await due_time() != first

        await eventually(is_renewed)
        gate.set()
        await post.until_nothing_pends()


async def is_not_none(read) -> bool:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Tell whether there is something to read."""
    return await read() is not None


async def test_a_later_transaction_that_commits_first_does_not_hide_an_earlier_one(post: Post) -> None:
    """Numbers become visible out of their order, and all that is committed is delivered."""
    async with connection_to(post.url) as slow:
        transaction = slow.transaction()
        await transaction.start()
        await publish(slow, Heard(text="numbered first", place="here"))  # type: ignore[arg-type]  # a connection without a pool
        await post.say("committed first", "there")
        async with post.relay().running():

            async def one_is_delivered() -> bool:
                return await post.count("delivered") == 1

            await eventually(one_is_delivered)
            await transaction.commit()

            async def both_are_delivered() -> bool:
                return await post.count("delivered") == 2

            await eventually(both_are_delivered)

    assert post.heard() == ["numbered first"]


async def test_a_relay_that_stops_finishes_what_it_has_begun_and_gives_the_rest_back(post: Post) -> None:
    """Part 1: after a clean stop nothing is left under a lease."""
    gate = asyncio.Event()
    post.echo.servicer.hook = gate.wait  # type: ignore[assignment, method-assign]
    await say_many(post, 5, places=1)
    async with post.database.transaction() as connection:
        await call_later(connection, post.echo.stub().Keep, KeepRequest(text="alone"))

    async def two_have_begun() -> bool:
        return post.echo.servicer.entered == 2

    async with post.relay().running():
        await eventually(two_have_begun)
        asyncio.get_running_loop().call_soon(gate.set)

    async with post.database.connection() as connection:
        assert await connection.fetchval("select count(*) from outbox where lease_holder is not null") == 0
    assert (await post.count("delivered"), await post.count("pending")) == (2, 4)
