from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from opentelemetry.trace import SpanKind

from contracts.errors import DeadlineExceeded, Internal, InvalidRequest, Overloaded, Unavailable, Unimplemented
from interceptors.context import current_context, detached_work
from mesh.outbox import call_later, publish
from mesh.outbox.message import Status
from mesh.outbox.retry import MAX_ATTEMPTS
from solo60.example.v1.echo_pb2 import EchoRequest, KeepRequest
from solo60.example.v1.events_pb2 import Heard
from tests.mesh.outbox.post import over_both
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.mesh.outbox.post import Post

pytestmark = over_both

ECHO = "solo60.example.v1.EchoService/Echo"


@pytest.mark.requirement("A1")
async def test_what_is_committed_is_delivered_and_what_is_rolled_back_is_not(post: Post) -> None:
    """No event without its transaction, and no transaction without its event."""

    async def fail_in_the_end() -> None:
        async with post.database.transaction() as connection:
            await publish(connection, Heard(text="never happened", place="here"))
            raise LookupError

    with pytest.raises(LookupError):
        await fail_in_the_end()
    await post.say("happened")

    async with post.relay().running():
        await post.until_nothing_pends()

    assert post.heard() == ["happened"]


@pytest.mark.requirement("S4")
async def test_a_message_belongs_to_the_request_that_it_was_written_for(post: Post) -> None:
    """Its delivery carries that request's correlation id and is a part of its trace."""
    seen: list[str] = []

    async def note() -> None:
        context = current_context()
        assert context is not None
        seen.append(context.correlation_id)

    post.echo.servicer.hook = note  # type: ignore[method-assign]
    tracer = post.echo.tracers.get_tracer("test")
    with detached_work("request-of-ada"), tracer.start_as_current_span("request") as request:
        async with post.database.transaction() as connection:
            await call_later(connection, post.echo.stub().Echo, EchoRequest(text="later"))

    async with post.relay().running():
        await post.until_nothing_pends()

    assert seen == ["request-of-ada"]
    (delivery,) = [span for span in post.echo.spans() if span.kind is SpanKind.CLIENT]
    assert delivery.parent is not None
    assert delivery.parent.span_id == request.get_span_context().span_id


async def test_the_receiver_sees_one_idempotency_key_in_every_repetition(post: Post) -> None:
    """So that it acts once, however often a message comes."""
    failures = iter([Internal(), Unavailable()])

    async def fail_twice() -> None:
        if (error := next(failures, None)) is not None:
            raise error

    post.echo.servicer.hook = fail_twice  # type: ignore[method-assign]
    await post.say("once")

    async with post.relay().running():
        await post.until_nothing_pends()

    keys = {key for _, _, key in post.echo.servicer.heard}
    (message,) = await post.inspection.list(Status.DELIVERED, None, 2, before=None)
    assert len(post.echo.servicer.heard) >= 3
    assert keys == {str(message.message.message_id)}


async def test_events_of_one_aggregate_are_told_in_order(post: Post) -> None:
    """Also while some of them fail, and whatever else is delivered beside them."""
    failures = {("0", 0): Unavailable, ("3", 0): Internal, ("40", 0): Internal}
    tries: dict[str, int] = {}

    async def fail_sometimes() -> None:
        place, text, _ = post.echo.servicer.heard[-1]
        tries[text] = tries.get(text, -1) + 1
        if place == "here" and (text, tries[text]) in failures:
            raise failures[text, tries[text]]

    post.echo.servicer.hook = fail_sometimes  # type: ignore[method-assign]
    texts = [str(number) for number in range(50)]
    relay = post.relay()
    async with relay.running():
        for text in texts:
            await post.say(text)
            await post.say("beside " + text, "there")
        await post.until_nothing_pends(hurrying=relay)

    assert post.heard() == texts
    assert post.heard("there") == ["beside " + text for text in texts]


async def test_a_poison_message_holds_up_its_own_aggregate_alone(post: Post) -> None:
    """And its own no longer than until it is given up."""
    await post.say("poison", "there")
    await post.say("after it", "there")
    await post.say("elsewhere")
    gate = asyncio.Event()

    async def choke() -> None:
        if post.echo.servicer.heard[-1][1] == "poison":
            await gate.wait()
            raise InvalidRequest

    post.echo.servicer.hook = choke  # type: ignore[method-assign]

    async def both_places_are_heard() -> bool:
        return (post.heard(), post.heard("there")) == (["elsewhere"], ["poison"])

    async with post.relay().running():
        await eventually(both_places_are_heard)
        gate.set()
        await post.until_nothing_pends()

    assert post.heard("there") == ["poison", "after it"]


async def test_what_no_repetition_mends_is_given_up_at_once_with_its_reason(post: Post) -> None:
    """A refusal by the receiver's rules goes to the dead letters after one attempt."""

    async def refuse() -> None:
        raise InvalidRequest("ada@members.example is no address")

    post.echo.servicer.hook = refuse  # type: ignore[method-assign]
    await post.say("refused")

    async with post.relay().running():
        await post.until_nothing_pends()

    (dead,) = await post.inspection.list(Status.DEAD, None, 2, before=None)
    assert dead.message.attempts == 1
    assert dead.last_error.startswith("INVALID_ARGUMENT INVALID_REQUEST")


async def test_a_message_that_keeps_failing_is_given_up(post: Post) -> None:
    """After eight attempts, each after a pause that is waited for here by moving its time."""

    async def be_of_no_use() -> None:
        raise Unimplemented

    post.echo.servicer.hook = be_of_no_use  # type: ignore[method-assign]
    await post.say("poison")

    relay = post.relay()
    async with relay.running():
        await post.until_nothing_pends(hurrying=relay)

    (dead,) = await post.inspection.list(Status.DEAD, None, 2, before=None)
    assert dead.message.attempts == MAX_ATTEMPTS == len(post.echo.servicer.heard)


@pytest.mark.parametrize("trouble", [Unavailable(), Overloaded(retry_after_s=0.05)], ids=["outage", "pushback"])
async def test_a_receiver_that_is_not_there_burns_no_attempt(post: Post, trouble: Exception) -> None:
    """Part 1: neither an outage nor a breaker that it opens, nor pushback, is a message's own fault."""
    refusals = iter([trouble] * 12)

    async def refuse_at_first() -> None:
        if (error := next(refusals, None)) is not None:
            raise error

    post.echo.servicer.hook = refuse_at_first  # type: ignore[method-assign]
    for number in range(5):
        await post.say(str(number), place=str(number))

    async with post.relay().running():
        await post.until_nothing_pends()

    delivered = await post.inspection.list(Status.DELIVERED, None, 10, before=None)
    assert [each.message.attempts for each in delivered] == [0] * 5
    assert next(refusals, None) is None


async def test_an_answer_that_is_lost_is_asked_for_again(post: Post) -> None:
    """At least once: a receiver that acted and could not say so is called again with the same key."""
    is_first = True

    async def lose_the_first_answer() -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            raise DeadlineExceeded

    post.echo.servicer.hook = lose_the_first_answer  # type: ignore[method-assign]
    await post.say("acted upon")

    async with post.relay().running():
        await post.until_nothing_pends()

    assert [text for _, text, _ in post.echo.servicer.heard] == ["acted upon"] * 2
    assert post.heard() == ["acted upon"]


async def test_a_message_is_not_delivered_before_its_time(post: Post) -> None:
    """Part 1: a reminder waits in the outbox; here its day is brought forward."""
    async with post.database.transaction() as connection:
        in_a_week = datetime.now(UTC) + timedelta(days=7)
        await call_later(connection, post.echo.stub().Keep, KeepRequest(text="reminder"), at=in_a_week)
    await post.say("now")

    async with post.relay().running():

        async def only_the_reminder_waits() -> bool:
            return (await post.count("delivered"), await post.count("pending")) == (1, 1)

        await eventually(only_the_reminder_waits)
        async with post.database.connection() as connection:
            await connection.execute("update outbox set due_time = now() where status = 'pending'")
        await post.until_nothing_pends()

    assert post.echo.servicer.entered == 2
