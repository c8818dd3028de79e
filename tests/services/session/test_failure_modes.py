"""Rows of docs/failure-modes.md that no other module tests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from contracts.errors import CircuitOpen, DeadlineExceeded, Unavailable
from local.mail_sink import MailSink
from solo60.mesh.v1 import outbox_pb2
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub
from solo60.session.v1.session_pb2 import SESSION_STATUS_CANCELLED, SESSION_STATUS_CONFIRMED, CancelSessionRequest
from tests.services.session.booking_mesh import (
    CREDITS_PER_HOUR,
    HOUR,
    SERVICES,
    TOMORROW,
    BookingMesh,
    book_request,
    with_key,
)
from tests.services.session.faults import FaultKind, break_service
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from solo60.session.v1.session_pb2 import BookSessionRequest, Session
    from tests.support.serving import Serve

T = TypeVar("T")

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
TERMINATE_WAITING = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()
"""


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call like a well-behaved client until it succeeds."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except (Unavailable, DeadlineExceeded, CircuitOpen) as failed:
                await asyncio.sleep(failed.retry_after_s or 0.05)


async def book_until_answered(booking_mesh: BookingMesh, request: BookSessionRequest) -> Session:
    """Book with one key for all repetitions."""
    key = with_key(uuid4().hex)

    async def book() -> Session:
        return (await booking_mesh.sessions.BookSession(request, metadata=key)).session

    return await until_answered(book)


async def cancel_until_answered(booking_mesh: BookingMesh, session: Session) -> Session:
    """Cancel and repeat the call until it succeeds."""

    async def cancel() -> Session:
        return (await booking_mesh.sessions.CancelSession(CancelSessionRequest(session_id=session.session_id))).session

    return await until_answered(cancel)


async def assert_booked_once(booking_mesh: BookingMesh, member: str, session: Session, mails: int) -> None:
    """Assert that this session is confirmed, that the member paid for no other, and that `mails` mails arrived."""
    await booking_mesh.wait_until_settled()
    sessions = await until_answered(lambda: booking_mesh.sessions_of(member))
    paid = [each.session_id for each in sessions if "CAPTURED" in await payment_statuses(booking_mesh, each)]
    found = await until_answered(lambda: booking_mesh.find_session(session.session_id))
    assert found.status == SESSION_STATUS_CONFIRMED
    assert paid == [session.session_id]
    assert await until_answered(lambda: booking_mesh.balance(member)) == GRANTED - CREDITS_PER_HOUR
    assert await count_mails(booking_mesh) == mails


async def assert_refunded_once(booking_mesh: BookingMesh, member: str, session: Session, mails: int) -> None:
    """Assert that a session is cancelled and refunded, and that `mails` mails arrived."""
    await booking_mesh.wait_until_settled()
    found = await until_answered(lambda: booking_mesh.find_session(session.session_id))
    assert found.status == SESSION_STATUS_CANCELLED
    assert await payment_statuses(booking_mesh, session) == ["REFUNDED"]
    assert await until_answered(lambda: booking_mesh.balance(member)) == GRANTED
    assert await count_mails(booking_mesh) == mails


async def payment_statuses(booking_mesh: BookingMesh, session: Session) -> list[str]:
    """Return the statuses of a session's payments. Repeat the call, because deadlines may be short."""
    return await until_answered(lambda: booking_mesh.payment_statuses(session.session_id))


async def count_mails(booking_mesh: BookingMesh) -> int:
    """Wait until all work is done, then count the mails. Repetitions with one Message-ID count once."""
    return len({mail.message_id for mail in await booking_mesh.wait_for_mails(0)})


@pytest.mark.parametrize("kind", [FaultKind.CALL_LOST, FaultKind.ANSWER_LOST], ids=["not reached", "answer lost"])
async def test_a_booking_survives_a_fault_in_each_of_its_calls(booking_mesh: BookingMesh, kind: FaultKind) -> None:
    """A booking repeated after a fault in any one of its calls books and charges once and sends one mail."""
    gym = await booking_mesh.create_gym()
    for number, (service, method) in enumerate(BOOKING):
        member = await booking_mesh.create_member()
        fault = await break_service(booking_mesh, service, method, kind)

        session = await book_until_answered(booking_mesh, book_request(member, gym, start=TOMORROW + number * HOUR))

        await assert_booked_once(booking_mesh, member, session, mails=number + 1)
        assert fault.remaining == 0, f"{method}: the fault was not reached"


@pytest.mark.parametrize("kind", [FaultKind.CALL_LOST, FaultKind.ANSWER_LOST], ids=["not reached", "answer lost"])
async def test_a_cancellation_survives_a_fault_in_each_of_its_calls(booking_mesh: BookingMesh, kind: FaultKind) -> None:
    """A cancellation repeated after a fault in any one of its calls refunds once and sends one mail."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    for number, (service, method) in enumerate(CANCELLATION):
        session = await booking_mesh.book(book_request(member, gym))
        await booking_mesh.wait_until_settled()
        fault = await break_service(booking_mesh, service, method, kind)

        await cancel_until_answered(booking_mesh, session)

        await assert_refunded_once(booking_mesh, member, session, mails=2 * (number + 1))
        assert fault.remaining == 0, f"{method}: the fault was not reached"


async def test_a_repetition_after_a_lost_answer_changes_nothing(booking_mesh: BookingMesh) -> None:
    """Repeating a booking or cancellation after a lost answer has no further effect."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    await break_service(booking_mesh, "session", "BookSession", FaultKind.ANSWER_LOST)
    session = await book_until_answered(booking_mesh, book_request(member, gym))
    await assert_booked_once(booking_mesh, member, session, mails=1)

    await break_service(booking_mesh, "session", "CancelSession", FaultKind.ANSWER_LOST)
    await cancel_until_answered(booking_mesh, session)
    await assert_refunded_once(booking_mesh, member, session, mails=2)


async def test_a_delivery_repeated_by_another_relay_changes_nothing(booking_mesh: BookingMesh) -> None:
    """Deliveries that a relay made and did not record are repeated by another relay without effect."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym))
    await assert_booked_once(booking_mesh, member, session, mails=1)
    await reset_deliveries(booking_mesh)
    await assert_booked_once(booking_mesh, member, session, mails=1)

    await cancel_until_answered(booking_mesh, session)
    await assert_refunded_once(booking_mesh, member, session, mails=2)
    await reset_deliveries(booking_mesh)
    await assert_refunded_once(booking_mesh, member, session, mails=2)


async def reset_deliveries(booking_mesh: BookingMesh) -> None:
    """Reset the outbox to its state after a relay died before recording its deliveries."""
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("update outbox set status = 'pending', due_time = now(), settle_time = null")


@asynccontextmanager
async def cut_connections_waiting_for(url: str, lock: str, *values: object) -> AsyncIterator[None]:
    """Hold a lock, terminate the connections that wait for it, and release it."""
    async with connection_to(url) as holder, connection_to(url) as other:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(lock, *values)

        async def is_cut() -> bool:
            return bool(await other.fetchval(TERMINATE_WAITING))

        cutting = asyncio.create_task(eventually(is_cut))
        try:
            yield
        finally:
            await cutting
            await transaction.rollback()


@pytest.mark.requirement("J6")
async def test_a_connection_cut_during_the_hold_only_needs_a_repetition(booking_mesh: BookingMesh) -> None:
    """If the connection is cut while the slot is being held, a repetition with the same key leaves one paid booking."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute("insert into calendars (gym_id) values ($1)", UUID(gym))

    lock = "select from calendars where gym_id = $1 for update"
    async with cut_connections_waiting_for(booking_mesh.urls["session"], lock, UUID(gym)):
        booking = asyncio.create_task(book_until_answered(booking_mesh, book_request(member, gym)))

    await assert_booked_once(booking_mesh, member, await booking, mails=1)


@pytest.mark.requirement("J6")
async def test_a_connection_cut_during_the_confirmation_only_needs_a_repetition(booking_mesh: BookingMesh) -> None:
    """If the connection is cut during the confirmation, a repetition leaves one paid booking."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    fault = await break_service(booking_mesh, "payment", "ChargeSession", FaultKind.ANSWER_LATE, times=1)
    booking = asyncio.create_task(book_until_answered(booking_mesh, book_request(member, gym)))
    await fault.reached.wait()

    async with cut_connections_waiting_for(booking_mesh.urls["session"], "select from sessions for update"):
        fault.is_open.set()

    await assert_booked_once(booking_mesh, member, await booking, mails=1)


@pytest.mark.requirement("J6")
async def test_a_connection_cut_during_a_cancellation_only_needs_a_repetition(booking_mesh: BookingMesh) -> None:
    """If the connection is cut during a cancellation, a repetition cancels, refunds and mails once."""
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym))
    await booking_mesh.wait_until_settled()

    async with cut_connections_waiting_for(booking_mesh.urls["session"], "select from sessions for update"):
        cancelling = asyncio.create_task(cancel_until_answered(booking_mesh, session))

    await cancelling
    await assert_refunded_once(booking_mesh, member, session, mails=2)


@pytest.mark.requirement("J6")
async def test_a_permanently_rejected_refund_is_a_dead_letter_until_it_is_retried(booking_mesh: BookingMesh) -> None:
    """A permanently rejected refund is listed as a dead letter, and is made when an operator retries it.

    The slot is free meanwhile.
    """
    member, gym = await booking_mesh.create_member(), await booking_mesh.create_gym()
    session = await booking_mesh.book(book_request(member, gym))
    await break_service(booking_mesh, "payment", "RefundSession", FaultKind.CALL_REJECTED, times=1)
    await cancel_until_answered(booking_mesh, session)
    await booking_mesh.wait_until_settled()
    outbox = booking_mesh.mesh.stub(OutboxServiceStub, at="session")

    listed = await outbox.ListMessages(outbox_pb2.ListMessagesRequest(status=outbox_pb2.OUTBOX_STATUS_DEAD))

    assert [each.destination for each in listed.messages] == ["solo60.payment.v1.PaymentService/RefundSession"]
    assert await booking_mesh.busy_periods(gym) == []
    assert await booking_mesh.balance(member) == GRANTED - CREDITS_PER_HOUR
    await outbox.RetryMessage(outbox_pb2.RetryMessageRequest(message_id=listed.messages[0].message_id))
    await assert_refunded_once(booking_mesh, member, session, mails=2)


@pytest.fixture
async def mesh_with_short_deadlines(serve: Serve, urls: dict[str, str], tmp_path: Path) -> AsyncIterator[BookingMesh]:
    """Serve every service with half of the usual deadlines."""
    folder = tmp_path / "inbox"
    async with MailSink(folder, port=0) as mail_sink:
        mesh = await serve(*SERVICES.values(), smtp_url=SecretStr(mail_sink.url), deadline_factor=0.5)
        yield BookingMesh(mesh, urls, folder)
        await mesh.close()


@pytest.mark.requirement("J6")
async def test_callees_slower_than_their_deadlines_only_need_repetitions(
    mesh_with_short_deadlines: BookingMesh,
) -> None:
    """A booking and its cancellation take effect once, although the first charge, refund and mail answer too late."""
    booking_mesh = mesh_with_short_deadlines
    member = await until_answered(booking_mesh.create_member)
    gym = await until_answered(booking_mesh.create_gym)
    await break_service(booking_mesh, "payment", "ChargeSession", FaultKind.ANSWER_LATE, times=1)
    session = await book_until_answered(booking_mesh, book_request(member, gym))
    await assert_booked_once(booking_mesh, member, session, mails=1)

    await break_service(booking_mesh, "payment", "RefundSession", FaultKind.ANSWER_LATE, times=1)
    await break_service(booking_mesh, "communication", "SendEmailAsync", FaultKind.ANSWER_LATE, times=1)
    await cancel_until_answered(booking_mesh, session)
    await assert_refunded_once(booking_mesh, member, session, mails=2)
