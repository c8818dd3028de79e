from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from mesh.outbox.message import DeliveryStatus, Verdict
from mesh.outbox.relay import CONCURRENCY
from mesh.outbox.store import LEASE, MAX_RUN_LENGTH
from solo60.example.v1.echo_pb2 import KeepRequest, OnHeardRequest
from tests.mesh.outbox.outbox_fixture import both_transports, publish_many
from tests.support.eventually import TIMEOUT_S, eventually

if TYPE_CHECKING:
    from tests.mesh.outbox.outbox_fixture import OutboxFixture

# Deliveries per second on a busy machine.
SLOWEST_PER_S = 20
DELIVERED = Verdict(DeliveryStatus.DELIVERED, 0)


def assert_in_order(outbox: OutboxFixture, places: int) -> None:
    """Assert that the texts of each place were heard in the order of their numbers."""
    for place in range(places):
        texts = [int(text) for text in outbox.heard(f"place {place}")]
        assert texts == sorted(texts)


@both_transports
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_concurrent_relays_deliver_each_message_once_and_in_order(outbox: OutboxFixture, count: int) -> None:
    """Two relays on one outbox deliver each message once, and those of each of 100 aggregates in order."""
    await publish_many(outbox, count, places=100)

    async with outbox.relay(seed=1).running(), outbox.relay(seed=2).running():
        await outbox.until_settled(timeout_s=TIMEOUT_S + count / SLOWEST_PER_S)

    keys = Counter(key for _, _, key in outbox.echo.servicer.heard)
    assert len(keys) == count
    assert set(keys.values()) == {1}
    assert_in_order(outbox, places=100)


async def test_concurrent_claims_do_not_overlap(outbox: OutboxFixture) -> None:
    """Concurrent claims of several relays cover all due messages and do not overlap."""
    await publish_many(outbox, 200, places=200)

    claims = await asyncio.gather(*[outbox.store.claim(60) for _ in range(4)])

    claimed = [message.message_id for runs in claims for run in runs for message in run]
    assert len(claimed) == len(set(claimed)) == 200


async def test_a_claimed_run_of_an_aggregate_cannot_be_overtaken(outbox: OutboxFixture) -> None:
    """A claim gets the next messages of an aggregate in order. No other claim gets the messages after them."""
    await publish_many(outbox, MAX_RUN_LENGTH + 5, places=1)

    ((*run,),) = await outbox.store.claim(10)
    others = await outbox.store.claim(10)

    assert [OnHeardRequest.FromString(each.payload).event.text for each in run] == [
        str(n) for n in range(MAX_RUN_LENGTH)
    ]
    assert others == []


async def test_the_messages_of_a_dead_relay_are_taken_over(outbox: OutboxFixture) -> None:
    """When the lease of a dead relay expires, another relay delivers its messages."""
    await publish_many(outbox, 10, places=2)
    await outbox.store.claim(10)

    async with outbox.relay().running():
        assert await outbox.count("pending") == 10
        outbox.clock.advance(LEASE)
        await outbox.until_settled()

    assert_in_order(outbox, places=2)


async def test_a_lost_lease_cannot_settle(outbox: OutboxFixture) -> None:
    """A verdict under a lease that another claim has taken over is ignored."""
    await outbox.publish_event("contested")
    ((slow,),) = await outbox.store.claim(1)
    outbox.clock.advance(LEASE)
    ((quick,),) = await outbox.store.claim(1)
    assert slow.message_id == quick.message_id

    await outbox.store.settle([(slow, Verdict(DeliveryStatus.DEAD, 1, "late"))])
    assert await outbox.count("pending") == 1
    await outbox.store.settle([(quick, DELIVERED)])

    assert await outbox.count("delivered") == 1


async def test_a_paused_relay_stops_delivering_after_its_lease(outbox: OutboxFixture) -> None:
    """After a pause that is longer than its lease, a relay does not begin further deliveries of its run.

    The relay decides by its own clock, without a query.
    """
    await publish_many(outbox, 3, places=1)
    now_s = 0.0
    relay = outbox.relay(clock=lambda: now_s)

    async def pause_once() -> None:
        nonlocal now_s
        if len(outbox.echo.servicer.heard) == 1:
            now_s += 31.0

    outbox.echo.servicer.hook = pause_once
    ((*run,),) = await outbox.store.claim(10)
    relay._hold(run, 0.0)

    await relay._deliver_run(run)

    assert outbox.heard("place 0") == ["0"]


async def test_a_lease_is_renewed_during_a_long_delivery(
    outbox: OutboxFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay renews its lease while a delivery lasts."""
    monkeypatch.setattr("mesh.outbox.relay.RENEW_INTERVAL_S", 0.01)
    gate = asyncio.Event()
    outbox.echo.servicer.hook = gate.wait
    await outbox.publish_event("slow")

    async with outbox.relay().running():
        await eventually(outbox.is_leased)
        first = await outbox.lease_end()

        async def is_renewed() -> bool:
            return await outbox.lease_end() != first

        await eventually(is_renewed)
        gate.set()
        await outbox.until_settled()


async def test_a_delivery_survives_a_move_of_the_clock(outbox: OutboxFixture) -> None:
    """A relay does not begin a delivery again if the clock moves past its lease meanwhile."""
    gate = asyncio.Event()
    outbox.echo.servicer.hook = gate.wait
    await publish_many(outbox, 3, places=1)

    async with outbox.relay().running() as relay:
        await eventually(lambda: outbox.echo.servicer.entered == 1)
        outbox.clock.advance(timedelta(days=3))
        assert await outbox.store.claim(10, held=relay._lease_ids()) == []
        gate.set()
        await outbox.until_settled()

    assert outbox.echo.servicer.entered == 3
    assert outbox.heard("place 0") == ["0", "1", "2"]


async def test_a_stopping_relay_releases_the_messages_that_wait_for_a_delivery(
    outbox: OutboxFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that stops during hanging deliveries leases no message any more."""
    monkeypatch.setattr("mesh.outbox.relay.STOP_TIMEOUT_S", 0.1)
    gate = asyncio.Event()
    outbox.echo.servicer.hook = gate.wait
    await publish_many(outbox, CONCURRENCY + 8, places=CONCURRENCY + 8)

    async with outbox.relay().running():
        await eventually(lambda: outbox.echo.servicer.entered == CONCURRENCY)

    assert not await outbox.is_leased()
    gate.set()


async def test_a_message_that_commits_late_is_still_delivered(outbox: OutboxFixture) -> None:
    """A message that commits after one with a higher number is delivered all the same."""
    async with outbox.uncommitted("numbered first") as commit:
        await outbox.publish_event("committed first", "there")
        async with outbox.relay().running():

            async def one_is_delivered() -> bool:
                return await outbox.count("delivered") == 1

            await eventually(one_is_delivered)
            await commit()

            async def both_are_delivered() -> bool:
                return await outbox.count("delivered") == 2

            await eventually(both_are_delivered)

    assert outbox.heard() == ["numbered first"]


async def test_a_stopping_relay_finishes_begun_deliveries_and_releases_the_rest(outbox: OutboxFixture) -> None:
    """A stopping relay finishes the deliveries that it has begun and releases all other leases."""
    gate = asyncio.Event()
    outbox.echo.servicer.hook = gate.wait
    await publish_many(outbox, 5, places=1)
    async with outbox.transaction() as tx:
        await tx.call_later(outbox.echo.stub().Keep, KeepRequest(text="alone"))

    async def two_have_begun() -> bool:
        return outbox.echo.servicer.entered == 2

    async with outbox.relay().running():
        await eventually(two_have_begun)
        asyncio.get_running_loop().call_soon(gate.set)

    async with outbox.database.connection() as connection:
        assert await connection.fetchval("select count(*) from outbox where lease_holder is not null") == 0
    assert (await outbox.count("delivered"), await outbox.count("pending")) == (2, 4)
