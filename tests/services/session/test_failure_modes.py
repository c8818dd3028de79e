"""Rows of docs/failure-modes.md that no other module tests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from contracts.errors import CircuitOpen, DeadlineExceeded, ServiceError, Unavailable
from local.inbox import Inbox
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

# All calls of a booking and its follow-ups, and of a cancellation.
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


async def until_answered(call: Callable[[], Awaitable[Session]]) -> Session:
    """Repeat a call like a well-behaved client until it succeeds."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except (Unavailable, DeadlineExceeded, CircuitOpen) as failed:
                await asyncio.sleep(failed.retry_after_s or 0.05)


async def book_until_answered(town: Town, request: BookSessionRequest) -> Session:
    """Book with one key for all repetitions."""
    key = keyed(uuid4().hex)

    async def book() -> Session:
        return (await town.sessions.BookSession(request, metadata=key)).session

    return await until_answered(book)


async def cancel_until_answered(town: Town, session: Session) -> Session:
    """Cancel and repeat the call until it succeeds."""

    async def cancel() -> Session:
        return (await town.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))).session

    return await until_answered(cancel)


async def assert_booked_once(town: Town, member: str, session: Session, mails: int) -> None:
    """Assert that the member has paid for this session alone, that it is confirmed, and that so many mails arrived."""
    await town.settled()
    sessions = await town.sessions_of(member)
    paid = [each.session_id for each in sessions if "CAPTURED" in await town.payment_statuses(each.session_id)]
    assert (await town.session(session.session_id)).status == SESSION_STATUS_CONFIRMED
    assert paid == [session.session_id]
    assert await town.balance(member) == GRANTED - CREDITS_PER_HOUR
    assert await count_mails(town) == mails


async def assert_refunded_once(town: Town, member: str, session: Session, mails: int) -> None:
    """Assert that a session is cancelled and refunded, and that so many mails arrived."""
    await town.settled()
    assert (await town.session(session.session_id)).status == SESSION_STATUS_CANCELLED
    assert await town.payment_statuses(session.session_id) == ["REFUNDED"]
    assert await town.balance(member) == GRANTED
    assert await count_mails(town) == mails


async def count_mails(town: Town) -> int:
    """Count the mails that have arrived in the end. Repetitions with one Message-ID count once."""
    return len({mail.message_id for mail in await town.mails(0)})


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER], ids=["not reached", "answer lost"])
async def test_a_booking_survives_a_fault_in_each_of_its_calls(town: Town, when: When) -> None:
    """A booking repeated after a fault in any one of its calls books and charges once and sends one mail."""
    gym = await town.a_gym()
    for number, (service, method) in enumerate(BOOKING):
        member = await town.a_member()
        fault = await break_service(town, service, method, when)

        session = await book_until_answered(town, order(member, gym, start=TOMORROW + number * HOUR))

        await assert_booked_once(town, member, session, mails=number + 1)
        assert fault.left == 0, f"{method}: the fault was not reached"


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER], ids=["not reached", "answer lost"])
async def test_a_cancellation_survives_a_fault_in_each_of_its_calls(town: Town, when: When) -> None:
    """A cancellation repeated after a fault in any one of its calls refunds once and sends one mail."""
    member, gym = await town.a_member(), await town.a_gym()
    for number, (service, method) in enumerate(CANCELLATION):
        session = await town.booked(order(member, gym))
        await town.settled()
        fault = await break_service(town, service, method, when)

        await cancel_until_answered(town, session)

        await assert_refunded_once(town, member, session, mails=2 * (number + 1))
        assert fault.left == 0, f"{method}: the fault was not reached"


async def test_a_repetition_after_a_lost_answer_changes_nothing(town: Town) -> None:
    """Repeating a booking or cancellation after a lost answer has no further effect."""
    member, gym = await town.a_member(), await town.a_gym()
    await break_service(town, "session", "BookSession", When.AFTER)
    session = await book_until_answered(town, order(member, gym))
    await assert_booked_once(town, member, session, mails=1)

    await break_service(town, "session", "CancelSession", When.AFTER)
    await cancel_until_answered(town, session)
    await assert_refunded_once(town, member, session, mails=2)


async def test_a_delivery_repeated_by_another_relay_changes_nothing(town: Town) -> None:
    """Deliveries that a relay made and did not record are repeated by another relay without effect."""
    member, gym = await town.a_member(), await town.a_gym()
    session = await town.booked(order(member, gym))
    await assert_booked_once(town, member, session, mails=1)
    await forget_deliveries(town)
    await assert_booked_once(town, member, session, mails=1)

    await cancel_until_answered(town, session)
    await assert_refunded_once(town, member, session, mails=2)
    await forget_deliveries(town)
    await assert_refunded_once(town, member, session, mails=2)


async def forget_deliveries(town: Town) -> None:
    """Reset the outbox to its state after a relay died before recording its deliveries."""
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("update outbox set status = 'pending', due_time = now(), settle_time = null")


@asynccontextmanager
async def cut_while_waiting_for(url: str, lock: str, *values: object) -> AsyncIterator[None]:
    """Hold a lock, terminate the connections that wait for it, and release it."""
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


@pytest.mark.requirement("J6")
async def test_a_connection_cut_during_the_hold_only_needs_a_repetition(town: Town) -> None:
    """If the connection is cut while the slot is being held, a repetition with the same key leaves one paid booking."""
    member, gym = await town.a_member(), await town.a_gym()
    async with town.mesh.database("session").transaction() as connection:
        await connection.execute("insert into calendars (gym_id) values ($1)", UUID(gym))

    lock = "select from calendars where gym_id = $1 for update"
    async with cut_while_waiting_for(town.urls["session"], lock, UUID(gym)):
        booking = asyncio.create_task(book_until_answered(town, order(member, gym)))

    await assert_booked_once(town, member, await booking, mails=1)


@pytest.mark.requirement("J6")
async def test_a_connection_cut_during_the_confirmation_only_needs_a_repetition(town: Town) -> None:
    """If the connection is cut during the confirmation, a repetition leaves one paid booking."""
    member, gym = await town.a_member(), await town.a_gym()
    fault = await break_service(town, "payment", "ChargeSession", When.LATE, times=1)
    booking = asyncio.create_task(book_until_answered(town, order(member, gym)))
    await fault.reached.wait()

    async with cut_while_waiting_for(town.urls["session"], "select from sessions for update"):
        fault.is_open.set()

    await assert_booked_once(town, member, await booking, mails=1)


@pytest.mark.requirement("J6")
async def test_a_connection_cut_during_a_cancellation_only_needs_a_repetition(town: Town) -> None:
    """If the connection is cut during a cancellation, a repetition cancels, refunds and mails once."""
    member, gym = await town.a_member(), await town.a_gym()
    session = await town.booked(order(member, gym))
    await town.settled()

    async with cut_while_waiting_for(town.urls["session"], "select from sessions for update"):
        cancelling = asyncio.create_task(cancel_until_answered(town, session))

    await cancelling
    await assert_refunded_once(town, member, session, mails=2)


@pytest.mark.requirement("J6")
async def test_a_permanently_refused_refund_is_a_dead_letter_until_it_is_retried(town: Town) -> None:
    """A permanently refused refund is listed as a dead letter, and is made when an operator retries it.

    The slot is free meanwhile.
    """
    member, gym = await town.a_member(), await town.a_gym()
    session = await town.booked(order(member, gym))
    await break_service(town, "payment", "RefundSession", When.REFUSED, times=1)
    await cancel_until_answered(town, session)
    await town.settled()
    outbox = town.mesh.stub(OutboxServiceStub, at="session")

    listed = await outbox.ListMessages(outbox_pb2.ListMessagesRequest(status=outbox_pb2.OUTBOX_STATUS_DEAD))

    assert [each.destination for each in listed.messages] == ["solo60.payment.v1.PaymentService/RefundSession"]
    assert await town.busy(gym) == []
    assert await town.balance(member) == GRANTED - CREDITS_PER_HOUR
    await outbox.RetryMessage(outbox_pb2.RetryMessageRequest(message_id=listed.messages[0].message_id))
    await assert_refunded_once(town, member, session, mails=2)


@pytest.fixture
async def hasty_town(serve: Serve, urls: dict[str, str], tmp_path: Path) -> AsyncIterator[Town]:
    """Serve every service with half of the usual deadlines."""
    folder = tmp_path / "inbox"
    async with Inbox(folder, port=0) as inbox:
        mesh = await serve(*SERVICES.values(), smtp_url=SecretStr(inbox.url), deadline_factor=0.5)
        yield Town(mesh, urls, folder)
        await mesh.close()


@pytest.mark.requirement("J6")
async def test_callees_slower_than_their_deadlines_only_need_repetitions(hasty_town: Town) -> None:
    """A booking and its cancellation take effect once, although the first charge, refund and mail answer too late."""
    town = hasty_town
    member = await create_until_answered(town.a_member)
    gym = await create_until_answered(town.a_gym)
    await break_service(town, "payment", "ChargeSession", When.LATE, times=1)
    session = await book_until_answered(town, order(member, gym))
    await assert_booked_once(town, member, session, mails=1)

    await break_service(town, "payment", "RefundSession", When.LATE, times=1)
    await break_service(town, "communication", "SendEmailAsync", When.LATE, times=1)
    await cancel_until_answered(town, session)
    await assert_refunded_once(town, member, session, mails=2)


async def create_until_answered(make: Callable[[], Awaitable[str]]) -> str:
    """Create something, and repeat the call after an error, because deadlines are short."""
    while True:
        try:
            return await make()
        except ServiceError:
            await asyncio.sleep(0.05)
