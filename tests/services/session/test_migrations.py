from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

from mesh.data.migrations import migrate
from solo60.payment.v1.payment_pb2 import RefundSessionRequest
from solo60.session.v1.session_pb2 import SendSessionMailRequest
from tests.support.postgres import connection_to

MIGRATIONS = Path(__file__).parents[3] / "services" / "session" / "migrations"
LAST_BEFORE = 10
ADD_SESSION = """
    insert into sessions (session_id, user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
        requires_approval, paid_in, create_time, update_time, caller, idempotency_key, request_sha256, correlation_id,
        booking_response, refund_due, mails_due, due_time)
    values ($1, $2, $3, tstzrange(now(), now() + interval '1 hour'), $4, 'GBP', 1250, 3, '', false, 'credits', now(),
        now(), 'operator', $5, '\\x00', 'correlation', '\\x00', $4 = 'cancelled', $6, $7)
"""


async def test_follow_ups_due_before_the_outbox_are_moved_into_it(empty_database_url: str, tmp_path: Path) -> None:
    """The migration moves every due refund and mail of an older database into the outbox."""
    for path in MIGRATIONS.glob("*.sql"):
        if int(path.name.partition("_")[0]) <= LAST_BEFORE:
            shutil.copy(path, tmp_path)
    await migrate(empty_database_url, tmp_path)
    gym_id, cancelled, held = uuid4(), uuid4(), uuid4()
    async with connection_to(empty_database_url) as connection:
        await connection.execute("insert into calendars (gym_id) values ($1)", gym_id)
        now = await connection.fetchval("select now()")
        due = ["SESSION_BOOKED", "SESSION_CANCELLED"]
        await connection.execute(ADD_SESSION, cancelled, uuid4(), gym_id, "cancelled", "1", due, now)
        await connection.execute(ADD_SESSION, held, uuid4(), gym_id, "pending_payment", "2", [], now)

    for path in MIGRATIONS.glob("*.sql"):
        shutil.copy(path, tmp_path)
    await migrate(empty_database_url, tmp_path)

    async with connection_to(empty_database_url) as connection:
        refund, *mails = await connection.fetch("select * from outbox order by sequence")
        assert await connection.fetchval("select expire_time from sessions where session_id = $1", held) == now
    assert refund["destination"] == "solo60.payment.v1.PaymentService/RefundSession"
    assert RefundSessionRequest.FromString(refund["payload"]) == RefundSessionRequest(
        session_id=str(cancelled), reason="session cancelled"
    )
    assert {each["aggregate_key"] for each in mails} == {str(cancelled)}
    assert [SendSessionMailRequest.FromString(each["payload"]) for each in mails] == [
        SendSessionMailRequest(session_id=str(cancelled), template_key=mail) for mail in due
    ]
