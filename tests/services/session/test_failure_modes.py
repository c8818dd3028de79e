"""The rows of docs/failure-modes.md that no other module tests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from contracts.errors import CircuitOpen, DeadlineExceeded, Unavailable
from mesh.inbox import Inbox
from solo60.mesh.v1 import outbox_pb2
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub
from solo60.session.v1.session_pb2 import SESSION_STATUS_CANCELLED, SESSION_STATUS_CONFIRMED, CancelSessionRequest
from tests.services.session.faults import When, break_service
from tests.services.session.town import CREDITS_PER_HOUR, HOUR, SERVICES, TOMORROW, Town, keyed, order
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from solo60.session.v1.session_pb2 import BookSessionRequest, Session
    from tests.support.serving import Serve

T = TypeVar("T")

# Every call of a booking and of what follows from it, and of a cancellation.
BOOKING = [
    ("user", "ValidateUser"),
    ("gym", "QuotePrice"),
    ("payment", "ChargeSession"),
    ("session", "SendSessionMail"),
    ("user", "GetUser"),
    ("gym", "GetGym"),
    ("communication", "SendEmailAsync"),
]
CANCELLATION = [("payment", "RefundSession"), *BOOKING[3:]]
GRANTED = 100
END_WAITING = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()
"""


async def in_the_end(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call, as a good client does, until it knows the outcome."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except (Unavailable, DeadlineExceeded, CircuitOpen) as failed:
                await asyncio.sleep(failed.retry_after_s or 0.05)


async def booked_in_the_end(town: Town, request: BookSessionRequest) -> Session:
    """Book with one key for all repetitions."""
    key = keyed(uuid4().hex)

    async def book() -> Session:
        return (await town.sessions.BookSession(request, metadata=key)).session

    return await in_the_end(book)


async def cancelled_in_the_end(town: Town, session: Session) -> Session:
    """Cancel, however often that takes."""

    async def cancel() -> Session:
        return (await town.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))).session

    return await in_the_end(cancel)


async def assert_booked_once(town: Town, member: str, session: Session, mails: int) -> None:
    """Check that one session is confirmed and paid, that nothing else of the member's is, and so many mails came."""
    await town.settled()
    sessions = await in_the_end(lambda: town.sessions_of(member))
    paid = [each.session_id for each in sessions if "CAPTURED" in await payments_of(town, each)]
    assert (await in_the_end(lambda: town.session(session.session_id))).status == SESSION_STATUS_CONFIRMED
    assert paid == [session.session_id]
    assert await in_the_end(lambda: town.balance(member)) == GRANTED - CREDITS_PER_HOUR
    assert await mails_so_far(town) == mails


async def assert_given_back_once(town: Town, member: str, session: Session, mails: int) -> None:
    """Check that a session is cancelled and costs nothing, and so many mails came."""
    await town.settled()
    assert (await in_the_end(lambda: town.session(session.session_id))).status == SESSION_STATUS_CANCELLED
    assert await payments_of(town, session) == ["REFUNDED"]
    assert await in_the_end(lambda: town.balance(member)) == GRANTED
    assert await mails_so_far(town) == mails


async def payments_of(town: Town, session: Session) -> list[str]:
    """Return how the payments of a session stand; a town in a hurry may have to be asked again."""
    return await in_the_end(lambda: town.payment_statuses(session.session_id))


async def mails_so_far(town: Town) -> int:
    """Count the mails that arrived, once all that was handed over has; repetitions with one Message-ID are one."""
    return len({mail.message_id for mail in await town.mails(0)})


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER], ids=["not reached", "answer lost"])
async def test_a_booking_survives_a_fault_in_each_of_its_calls(town: Town, when: When) -> None:
    """T-h8: whichever callee is cut off, or its answer lost: booked and charged once, and one mail."""
    gym = await town.a_gym()
    for number, (service, method) in enumerate(BOOKING):
        member = await town.a_member()
        fault = await break_service(town, service, method, when)

        session = await booked_in_the_end(town, order(member, gym, start=TOMORROW + number * HOUR))

        await assert_booked_once(town, member, session, mails=number + 1)
        assert fault.left == 0, f"{method} was not broken"


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER], ids=["not reached", "answer lost"])
async def test_a_cancellation_survives_a_fault_in_each_of_its_calls(town: Town, when: When) -> None:
    """T-h8: the price comes back once, and one mail tells so."""
    member, gym = await town.a_member(), await town.a_gym()
    for number, (service, method) in enumerate(CANCELLATION):
        session = await town.booked(order(member, gym))
        await town.settled()
        fault = await break_service(town, service, method, when)

        await cancelled_in_the_end(town, session)

        await assert_given_back_once(town, member, session, mails=2 * (number + 1))
        assert fault.left == 0, f"{method} was not broken"


async def test_an_answer_that_the_member_does_not_get_is_given_again(town: Town) -> None:
    """T-h8: booking and cancelling are done when their answers are lost, and repeating them does nothing more."""
    member, gym = await town.a_member(), await town.a_gym()
    await break_service(town, "session", "BookSession", When.AFTER)
    session = await booked_in_the_end(town, order(member, gym))
    await assert_booked_once(town, member, session, mails=1)

    await break_service(town, "session", "CancelSession", When.AFTER)
    await cancelled_in_the_end(town, session)
    await assert_given_back_once(town, member, session, mails=2)


async def test_what_was_delivered_and_not_noted_is_delivered_again_without_effect(town: Town) -> None:
    """T-h8, T-g2: a relay that died before it noted its deliveries leaves them to the next one."""
    member, gym = await town.a_member(), await town.a_gym()
    session = await town.booked(order(member, gym))
    await assert_booked_once(town, member, session, mails=1)
    await forget_deliveries(town)
    await assert_booked_once(town, member, session, mails=1)

    await cancelled_in_the_end(town, session)
    await assert_given_back_once(town, member, session, mails=2)
    await forget_deliveries(town)
    await assert_given_back_once(town, member, session, mails=2)


async def forget_deliveries(town: Town) -> None:
    """Leave the outbox as a relay leaves it that dies after its deliveries."""
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("update outbox set status = 'pending', due_time = now(), settle_time = null")


@asynccontextmanager
async def cut_while_waiting_for(url: str, lock: str, *values: object) -> AsyncIterator[None]:
    """Hold a lock, end whoever waits for it, and let go: for the time of the context."""
    async with connection_to(url) as holder, connection_to(url) as other:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(lock, *values)

        async def is_cut() -> bool:
            return bool(await other.fetchval(END_WAITING))

        cutting = asyncio.create_task(eventually(is_cut))
        try:
            yield
        finally:
            await cutting
            await transaction.rollback()


async def test_a_connection_cut_while_a_slot_is_reserved_costs_a_repetition(town: Town) -> None:
    """J6: whether the hold was written is not known, and repeating with the key finds out."""
    member, gym = await town.a_member(), await town.a_gym()
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("insert into calendars (gym_id) values ($1)", UUID(gym))

    lock = "select from calendars where gym_id = $1 for update"
    async with cut_while_waiting_for(town.urls["session"], lock, UUID(gym)):
        booking = asyncio.create_task(booked_in_the_end(town, order(member, gym)))

    await assert_booked_once(town, member, await booking, mails=1)


async def test_a_connection_cut_while_a_session_is_confirmed_costs_a_repetition(town: Town) -> None:
    """J6: the charge is given back with the slot, and the repetition books anew."""
    member, gym = await town.a_member(), await town.a_gym()
    fault = await break_service(town, "payment", "ChargeSession", When.LATE, times=1)
    booking = asyncio.create_task(booked_in_the_end(town, order(member, gym)))
    await fault.reached.wait()

    async with cut_while_waiting_for(town.urls["session"], "select from sessions for update"):
        fault.is_open.set()

    await assert_booked_once(town, member, await booking, mails=1)


async def test_a_connection_cut_while_a_session_is_cancelled_costs_a_repetition(town: Town) -> None:
    """J6: cancelled with all that follows, or not at all."""
    member, gym = await town.a_member(), await town.a_gym()
    session = await town.booked(order(member, gym))
    await town.settled()

    async with cut_while_waiting_for(town.urls["session"], "select from sessions for update"):
        cancelling = asyncio.create_task(cancelled_in_the_end(town, session))

    await cancelling
    await assert_given_back_once(town, member, session, mails=2)


async def test_a_refund_that_is_refused_for_good_is_a_dead_letter_until_somebody_mends_it(town: Town) -> None:
    """J6, T-g6: the slot is free all the same; the refund is listed, and made when it is retried."""
    member, gym = await town.a_member(), await town.a_gym()
    session = await town.booked(order(member, gym))
    await break_service(town, "payment", "RefundSession", When.REFUSED, times=1)
    await cancelled_in_the_end(town, session)
    await town.settled()
    outbox = town.mesh.stub(OutboxServiceStub, at="session")

    listed = await outbox.ListMessages(outbox_pb2.ListMessagesRequest(status=outbox_pb2.OUTBOX_STATUS_DEAD))

    assert [each.destination for each in listed.messages] == ["solo60.payment.v1.PaymentService/RefundSession"]
    assert await town.busy(gym) == []
    assert await town.balance(member) == GRANTED - CREDITS_PER_HOUR
    await outbox.RetryMessage(outbox_pb2.RetryMessageRequest(message_id=listed.messages[0].message_id))
    await assert_given_back_once(town, member, session, mails=2)


@pytest.fixture
async def hasty_town(serve: Serve, urls: dict[str, str], tmp_path: Path) -> AsyncIterator[Town]:
    """Serve a town in which calls have half of their time."""
    folder = tmp_path / "inbox"
    async with Inbox(folder, port=0) as inbox:
        mesh = await serve(*SERVICES.values(), smtp_url=SecretStr(inbox.url), deadline_factor=0.5)
        yield Town(mesh, urls, folder)
        await mesh.close()


async def test_callees_slower_than_their_deadlines_cost_time_and_nothing_else(hasty_town: Town) -> None:
    """J6: charge, mail and refund are done, their answers come too late, and all that follows happens once."""
    town = hasty_town
    member = await in_the_end(town.a_member)
    gym = await in_the_end(town.a_gym)
    await break_service(town, "payment", "ChargeSession", When.LATE, times=1)
    session = await booked_in_the_end(town, order(member, gym))
    await assert_booked_once(town, member, session, mails=1)

    await break_service(town, "payment", "RefundSession", When.LATE, times=1)
    await break_service(town, "communication", "SendEmailAsync", When.LATE, times=1)
    await cancelled_in_the_end(town, session)
    await assert_given_back_once(town, member, session, mails=2)
