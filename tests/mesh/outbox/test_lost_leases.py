from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from mesh.data.database import Database
from mesh.outbox.relay import Relay
from mesh.outbox.store import LEASE, OutboxStore
from tests.mesh.outbox.outbox_fixture import publish_many
from tests.support.eventually import eventually
from tests.support.tcp_proxy import proxied

if TYPE_CHECKING:
    import pytest

    from mesh.outbox.message import OutboxMessage
    from tests.mesh.outbox.outbox_fixture import OutboxFixture


async def test_a_claim_without_an_answer_delays_its_messages_by_one_lease(outbox: OutboxFixture) -> None:
    """If the connection is cut after a claim and before its answer, the same relay delivers when the lease expires."""
    async with AsyncExitStack() as stack:
        proxy, url = await stack.enter_async_context(proxied(outbox.url))
        database = await Database.connect(url, max_connections=1, clock=outbox.clock)
        stack.push_async_callback(database.close)
        relay = Relay(OutboxStore(database), outbox.transport, outbox.metrics, random.Random(1))  # noqa: S311 - jitter
        async with relay.running():
            await outbox.publish_event("answered")
            await outbox.until_settled()
            async with proxy.losing_answers():
                await outbox.publish_event("unanswered")
                await eventually(outbox.is_leased)
            await relay._renew()
            assert not await relay._claim()
            outbox.clock.advance(LEASE)
            await outbox.until_settled()

    assert outbox.heard() == ["answered", "unanswered"]


async def test_a_renewal_does_not_restore_a_lost_lease(outbox: OutboxFixture) -> None:
    """A relay delivers nothing under a lease that another claim has taken over, also after its next renewal."""
    await publish_many(outbox, 3, places=1)
    now_s = 0.0
    relay = outbox.relay(clock=lambda: now_s)
    ((*run,),) = await outbox.store.claim(10)
    relay._hold(run, 0.0)
    now_s = LEASE.total_seconds() + 1
    outbox.clock.advance(LEASE)
    assert await outbox.store.claim(10)

    await relay._renew()
    await relay._deliver_run(run)

    assert outbox.echo.servicer.entered == 0


async def test_a_relay_that_claims_its_lost_messages_again_delivers_them_once(outbox: OutboxFixture) -> None:
    """If a relay has lost messages and claimed them again, only the run of the second claim delivers them."""
    await publish_many(outbox, 3, places=1)
    relay = outbox.relay()
    ((*lost,),) = await outbox.store.claim(10)
    relay._hold(lost, time.monotonic())
    outbox.clock.advance(LEASE)
    ((*run,),) = await outbox.store.claim(10)
    relay._hold(run, time.monotonic())

    await relay._deliver_run(lost)
    assert outbox.echo.servicer.entered == 0
    await relay._settle()
    await relay._deliver_run(run)
    await relay._settle()

    assert outbox.heard("place 0") == ["0", "1", "2"]
    assert await outbox.count("delivered") == 3
    assert relay._holds == {}


async def test_a_renewal_before_the_answer_to_a_claim_does_not_extend_its_leases(
    outbox: OutboxFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that began before a renewal, and whose claim was answered after it, ends at its own time."""
    await publish_many(outbox, 3, places=1)
    now_s = 0.0
    relay, claim = outbox.relay(clock=lambda: now_s), outbox.store.claim

    async def claim_slowly(*args: Any, **options: Any) -> list[list[OutboxMessage]]:
        nonlocal now_s
        runs = await claim(*args, **options)
        now_s = 25.0
        await relay._renew()
        now_s = LEASE.total_seconds() + 1
        return runs

    monkeypatch.setattr(outbox.store, "claim", claim_slowly)
    assert await relay._claim()
    await asyncio.wait(relay._runs)

    assert outbox.echo.servicer.entered == 0


async def test_a_late_message_does_not_repeat_deliveries_in_progress(outbox: OutboxFixture) -> None:
    """If a message with a lower number commits during the delivery of the next one, that delivery is not repeated."""
    is_first, gate = True, asyncio.Event()

    async def hold_the_first() -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            await gate.wait()

    outbox.echo.servicer.hook = hold_the_first
    async with outbox.uncommitted("numbered first") as commit, outbox.relay().running() as relay:
        await outbox.publish_event("in progress")
        await eventually(lambda: outbox.echo.servicer.entered == 1)
        await commit()
        relay.wake()
        await eventually(lambda: outbox.echo.servicer.entered >= 2)
        gate.set()
        await outbox.until_settled()

    assert [text for _, text, _ in outbox.echo.servicer.heard] == ["in progress", "numbered first"]
