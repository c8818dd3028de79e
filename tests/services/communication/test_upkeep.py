"""Upkeep of mail: deleting old messages and counting waiting ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from interceptors.metrics.registry import metrics_of
from mesh.data.deletion import BATCH_SIZE
from services.communication.app import SERVICE
from services.communication.domain import RETENTION, Backlog, MessageStatus
from services.communication.metrics import MailMetrics
from tests.services.communication.faulty_mail_server import BUSY, UNKNOWN
from tests.services.communication.mail_fixture import ADA, send_next
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.communication.faulty_mail_server import FaultyMailServer
    from tests.services.communication.mail_fixture import MailFixture
    from tests.support.serving import Serve

_FILL = """
    insert into messages (message_id, template_key, recipients, mail, email_message_id, correlation_id, traceparent,
                          create_time, status, due_time, send_time)
    select id, 'SESSION_BOOKED', '{}', case when $1 <> 'SENT' then ''::bytea end, id::text, '', '', $2, $1,
        case when $1 not in ('SENT', 'DEAD') then $2::timestamptz end, case when $1 = 'SENT' then $2::timestamptz end
    from (select gen_random_uuid() as id from generate_series(1, $3)) as ids
"""
COUNT_BY_STATUS = "select status, count(*) from messages group by status order by status"


async def fill(mails: MailFixture, status: MessageStatus, age: timedelta, count: int = 1) -> None:
    """Add messages of this age."""
    async with mails.database.connection() as connection:
        await connection.execute(_FILL, status, mails.clock.now() - age, count)


@pytest.mark.requirement("A2")
async def test_sent_messages_are_deleted_after_thirty_days(mails: MailFixture) -> None:
    """Messages sent more than 30 days ago are deleted in batches, and messages with another status stay."""
    for status in set(MessageStatus) - {MessageStatus.EXPIRED, MessageStatus.SUPPRESSED}:
        await fill(mails, status, RETENTION + timedelta(hours=1))
    await fill(mails, MessageStatus.SENT, RETENTION + timedelta(hours=1), BATCH_SIZE)
    await fill(mails, MessageStatus.SENT, RETENTION - timedelta(hours=1), 3)

    assert await mails.store.delete_old(mails.clock.now() - RETENTION) == BATCH_SIZE + 1

    async with mails.database.connection() as connection:
        left = {row["status"]: row["count"] for row in await connection.fetch(COUNT_BY_STATUS)}
    assert left == {"QUEUED": 1, "SENDING": 1, "SENT": 3, "FAILED": 1, "DEAD": 1}


@pytest.mark.requirement("A2", "S5")
async def test_a_running_service_deletes_and_counts(serve: Serve, mails: MailFixture) -> None:
    """A running service deletes old sent messages and counts dead ones in its metrics."""
    mails.clock.time = datetime.now(UTC)
    await fill(mails, MessageStatus.SENT, RETENTION + timedelta(hours=1))
    await fill(mails, MessageStatus.DEAD, RETENTION + timedelta(hours=1), 7)

    async def is_upkeep_done() -> bool:
        async with mails.database.connection() as connection:
            sent = await connection.fetchval("select count(*) from messages where status = 'SENT'")
        return sent == 0 and REGISTRY.get_sample_value("mail_dead") == 7

    await (await serve()).start(SERVICE, mails.url)
    await eventually(is_upkeep_done)


@pytest.mark.requirement("S5")
async def test_metrics_show_waiting_and_dead_messages(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """Metrics show the number of waiting and dead messages, the age of the oldest, and the results of attempts."""
    await fill(mails, MessageStatus.SENT, timedelta(hours=9))
    await mails.add()
    faulty.refused[ADA] = UNKNOWN
    await send_next(mails.new_sender(faulty.url))
    faulty.answers.append(BUSY)
    await mails.add()
    await send_next(mails.new_sender(faulty.url))
    await mails.add()
    mails.clock.advance(timedelta(minutes=2))

    backlog = await mails.store.backlog(mails.clock.now())
    assert backlog == Backlog(waiting=2, oldest_s=120.0, dead=1)
    metrics_of(mails.registry, MailMetrics).set_backlog(backlog)
    shown = {sample.name: sample.value for metric in mails.registry.collect() for sample in metric.samples}
    assert (shown["mail_waiting"], shown["mail_oldest_waiting_seconds"], shown["mail_dead"]) == (2, 120, 1)
    assert mails.registry.get_sample_value("mail_attempts_total", {"status": "DEAD"}) == 1
    assert mails.registry.get_sample_value("mail_attempts_total", {"status": "FAILED"}) == 1
