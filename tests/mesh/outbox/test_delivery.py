from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from opentelemetry.trace import SpanKind

from contracts.errors import DeadlineExceeded, Internal, InvalidRequest, Overloaded, Unavailable, Unimplemented
from interceptors.context import current_context, detached_work
from mesh.outbox.message import DeliveryStatus
from mesh.outbox.retry import MAX_ATTEMPTS
from solo60.example.v1.echo_pb2 import EchoRequest, KeepRequest
from solo60.example.v1.events_pb2 import Heard
from tests.mesh.outbox.outbox_fixture import both_transports
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.mesh.outbox.outbox_fixture import OutboxFixture

pytestmark = both_transports

ECHO = "solo60.example.v1.EchoService/Echo"


@pytest.mark.requirement("A1")
async def test_only_committed_messages_are_delivered(outbox: OutboxFixture) -> None:
    """A message of a committed transaction is delivered. A message of a rolled-back transaction is not."""

    async def fail_in_the_end() -> None:
        async with outbox.transaction() as tx:
            await tx.publish(Heard(text="never happened", place="here"))
            raise LookupError

    with pytest.raises(LookupError):
        await fail_in_the_end()
    await outbox.publish_event("happened")

    async with outbox.relay().running():
        await outbox.until_settled()

    assert outbox.heard() == ["happened"]


@pytest.mark.requirement("S4")
async def test_a_delivery_carries_the_correlation_id_and_trace_of_its_request(outbox: OutboxFixture) -> None:
    """The delivery of a message carries the correlation id of its request and is part of that request's trace."""
    seen: list[str] = []

    async def record_correlation_id() -> None:
        context = current_context()
        assert context is not None
        seen.append(context.correlation_id)

    outbox.echo.servicer.hook = record_correlation_id
    tracer = outbox.echo.tracers.get_tracer("test")
    with detached_work("request-of-ada"), tracer.start_as_current_span("request") as request:
        async with outbox.transaction() as tx:
            await tx.call_later(outbox.echo.stub().Echo, EchoRequest(text="later"))

    async with outbox.relay().running():
        await outbox.until_settled()

    assert seen == ["request-of-ada"]
    (delivery,) = [span for span in outbox.echo.spans() if span.kind is SpanKind.CLIENT]
    assert delivery.parent is not None
    assert delivery.parent.span_id == request.get_span_context().span_id


async def test_every_attempt_carries_the_same_idempotency_key(outbox: OutboxFixture) -> None:
    """Every attempt to deliver a message carries its message id as the idempotency key."""
    failures = iter([Internal(), Unavailable()])

    async def fail_twice() -> None:
        if (error := next(failures, None)) is not None:
            raise error

    outbox.echo.servicer.hook = fail_twice
    await outbox.publish_event("once")

    async with outbox.relay().running():
        await outbox.until_settled()

    keys = {key for _, _, key in outbox.echo.servicer.heard}
    (message,) = await outbox.administration.list(DeliveryStatus.DELIVERED, None, 2, before=None)
    assert len(outbox.echo.servicer.heard) >= 3
    assert keys == {str(message.message.message_id)}


async def test_events_of_one_aggregate_are_delivered_in_order(outbox: OutboxFixture) -> None:
    """Events of one aggregate are delivered in order, even if attempts fail or other events are delivered meanwhile."""
    failures = {("0", 0): Unavailable, ("3", 0): Internal, ("40", 0): Internal}
    tries: dict[str, int] = {}

    async def fail_sometimes() -> None:
        place, text, _ = outbox.echo.servicer.heard[-1]
        tries[text] = tries.get(text, -1) + 1
        if place == "here" and (text, tries[text]) in failures:
            raise failures[text, tries[text]]

    outbox.echo.servicer.hook = fail_sometimes
    texts = [str(number) for number in range(50)]
    relay = outbox.relay()
    async with relay.running():
        for text in texts:
            await outbox.publish_event(text)
            await outbox.publish_event("beside " + text, "there")
        await outbox.until_settled(without_pauses=relay)

    assert outbox.heard() == texts
    assert outbox.heard("there") == ["beside " + text for text in texts]


async def test_a_poison_message_blocks_only_its_own_aggregate(outbox: OutboxFixture) -> None:
    """A poison message blocks only its own aggregate, and only until it is given up."""
    await outbox.publish_event("poison", "there")
    await outbox.publish_event("after it", "there")
    await outbox.publish_event("elsewhere")
    gate = asyncio.Event()

    async def fail_on_poison() -> None:
        if outbox.echo.servicer.heard[-1][1] == "poison":
            await gate.wait()
            raise InvalidRequest

    outbox.echo.servicer.hook = fail_on_poison

    async def both_places_are_heard() -> bool:
        return (outbox.heard(), outbox.heard("there")) == (["elsewhere"], ["poison"])

    async with outbox.relay().running():
        await eventually(both_places_are_heard)
        gate.set()
        await outbox.until_settled()

    assert outbox.heard("there") == ["poison", "after it"]


async def test_a_permanent_error_makes_a_dead_letter_at_once(outbox: OutboxFixture) -> None:
    """A permanent error makes a message a dead letter after one attempt. The error is stored as the reason."""

    async def refuse() -> None:
        raise InvalidRequest("ada@members.example is no address")

    outbox.echo.servicer.hook = refuse
    await outbox.publish_event("refused")

    async with outbox.relay().running():
        await outbox.until_settled()

    (dead,) = await outbox.administration.list(DeliveryStatus.DEAD, None, 2, before=None)
    assert dead.message.attempts == 1
    assert dead.last_error.startswith("INVALID_ARGUMENT INVALID_REQUEST")


async def test_a_message_that_always_fails_is_given_up(outbox: OutboxFixture) -> None:
    """A message that always fails becomes a dead letter after eight attempts.

    The test skips the pauses between the attempts.
    """

    async def fail() -> None:
        raise Unimplemented

    outbox.echo.servicer.hook = fail
    await outbox.publish_event("poison")

    relay = outbox.relay()
    async with relay.running():
        await outbox.until_settled(without_pauses=relay)

    (dead,) = await outbox.administration.list(DeliveryStatus.DEAD, None, 2, before=None)
    assert dead.message.attempts == MAX_ATTEMPTS == len(outbox.echo.servicer.heard)


@pytest.mark.parametrize("trouble", [Unavailable(), Overloaded(retry_after_s=0.05)], ids=["outage", "pushback"])
async def test_an_unavailable_receiver_costs_no_attempt(outbox: OutboxFixture, trouble: Exception) -> None:
    """Outages, open breakers and pushback of the receiver do not count as attempts."""
    refusals = iter([trouble] * 12)

    async def refuse_at_first() -> None:
        if (error := next(refusals, None)) is not None:
            raise error

    outbox.echo.servicer.hook = refuse_at_first
    for number in range(5):
        await outbox.publish_event(str(number), place=str(number))

    async with outbox.relay().running():
        await outbox.until_settled()

    delivered = await outbox.administration.list(DeliveryStatus.DELIVERED, None, 10, before=None)
    assert [each.message.attempts for each in delivered] == [0] * 5
    assert next(refusals, None) is None


async def test_a_lost_answer_causes_another_attempt(outbox: OutboxFixture) -> None:
    """If the answer of a receiver is lost, the receiver is called again with the same key."""
    is_first = True

    async def lose_the_first_answer() -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            raise DeadlineExceeded

    outbox.echo.servicer.hook = lose_the_first_answer
    await outbox.publish_event("acted upon")

    async with outbox.relay().running():
        await outbox.until_settled()

    assert [text for _, text, _ in outbox.echo.servicer.heard] == ["acted upon"] * 2
    assert outbox.heard() == ["acted upon"]


async def test_a_message_is_not_delivered_before_its_time(outbox: OutboxFixture) -> None:
    """A message with a delivery time is not delivered before that time."""
    async with outbox.transaction() as tx:
        in_a_week = datetime.now(UTC) + timedelta(days=7)
        await tx.call_later(outbox.echo.stub().Keep, KeepRequest(text="reminder"), at=in_a_week)
    await outbox.publish_event("now")

    async with outbox.relay().running():

        async def only_the_reminder_waits() -> bool:
            return (await outbox.count("delivered"), await outbox.count("pending")) == (1, 1)

        await eventually(only_the_reminder_waits)
        async with outbox.database.connection() as connection:
            await connection.execute("update outbox set due_time = now() where status = 'pending'")
        await outbox.until_settled()

    assert outbox.echo.servicer.entered == 2
