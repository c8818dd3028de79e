"""Tests of mail that its user has switched off."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import MessageNotRetryable
from services.communication.domain import LEASE, NOT_SENT, RETENTION, MessageStatus
from services.communication.preferences.domain import Category
from services.communication.preferences.store import PreferenceStore
from tests.services.communication.faulty_mail_server import BUSY, UNKNOWN
from tests.services.communication.mail_fixture import ADA, USER_ID, send_next

if TYPE_CHECKING:
    from tests.services.communication.faulty_mail_server import FaultyMailServer
    from tests.services.communication.mail_fixture import MailFixture

WAITING_LIST = Category.WAITING_LIST


async def switch(mails: MailFixture, *, on: bool, category: Category = WAITING_LIST) -> None:
    """Switch a category on or off for the user of the fixture."""
    store = PreferenceStore(mails.database)
    async with store.transaction() as tx:
        preferences = await store.lock(tx, USER_ID, mails.clock.now())
        await store.save(tx, preferences.with_changes({category: on}, mails.clock.now()))


async def test_a_mail_that_is_switched_off_is_not_sent_and_its_personal_data_is_deleted(
    mails: MailFixture, faulty: FaultyMailServer
) -> None:
    """A mail that is switched off is SUPPRESSED without an attempt, and its recipients and text are deleted."""
    await switch(mails, on=False)
    message_id = await mails.add(category=WAITING_LIST)
    sender = mails.new_sender(faulty.url)

    assert await send_next(sender)
    assert not await send_next(sender)

    message = await mails.store.find(message_id)
    assert (message.status, message.attempts) == (MessageStatus.SUPPRESSED, 0)
    assert message.last_error == NOT_SENT[MessageStatus.SUPPRESSED]
    assert not message.may_have_been_sent
    assert faulty.received == []
    async with mails.database.connection() as connection:
        row = await connection.fetchrow("select recipients, mail from messages")
    assert row is not None
    assert tuple(row) == ([], b"")
    assert mails.registry.get_sample_value("mail_suppressed_total") == 1


async def test_a_suppressed_mail_needs_no_operator(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A suppressed mail is neither a failed nor a dead one, and cannot be retried."""
    await switch(mails, on=False)
    message_id = await mails.add(category=WAITING_LIST)
    await send_next(mails.new_sender(faulty.url))

    assert await mails.store.list_failed(9, before=None) == []
    backlog = await mails.store.backlog(mails.clock.now())
    assert (backlog.waiting, backlog.dead) == (0, 0)
    with pytest.raises(MessageNotRetryable, match="SUPPRESSED"):
        async with mails.store.transaction() as tx:
            await mails.store.requeue(tx, message_id, mails.clock.now())


async def test_other_mail_still_arrives(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """Mail of another category, to somebody else, or to somebody without an account, is sent."""
    await switch(mails, on=False)
    await mails.add(category=Category.REMINDERS)
    await mails.add(category=Category.BOOKINGS)
    await mails.add(category=WAITING_LIST, user_id=None)
    await mails.add(category=None)

    sender = mails.new_sender(faulty.url)
    while await send_next(sender):
        pass

    assert len(faulty.accepted) == 4


async def test_mail_arrives_again_after_switching_it_on(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """After a category is switched on again, new mail is sent. A mail that was suppressed meanwhile is not."""
    await switch(mails, on=False)
    suppressed = await mails.add(category=WAITING_LIST)
    sender = mails.new_sender(faulty.url)
    await send_next(sender)

    await switch(mails, on=True)
    sent = await mails.add(category=WAITING_LIST)
    while await send_next(sender):
        pass

    assert (await mails.store.find(suppressed)).status is MessageStatus.SUPPRESSED
    assert (await mails.store.find(sent)).status is MessageStatus.SENT
    assert len(faulty.accepted) == 1


async def test_a_waiting_mail_is_not_sent_either(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A mail that waits for its next attempt is suppressed if its category is switched off meanwhile."""
    faulty.answers.append(BUSY)
    message_id = await mails.add(category=WAITING_LIST)
    sender = mails.new_sender(faulty.url)
    await send_next(sender)

    await switch(mails, on=False)
    await mails.advance_to_due(message_id)
    await send_next(sender)

    message = await mails.store.find(message_id)
    assert (message.status, message.attempts) == (MessageStatus.SUPPRESSED, 1)
    assert faulty.accepted == []


async def test_a_dead_mail_is_not_sent_by_a_retry(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A dead mail that an operator retries is suppressed if its category was switched off meanwhile."""
    faulty.refused[ADA] = UNKNOWN
    message_id = await mails.add(category=WAITING_LIST)
    sender = mails.new_sender(faulty.url)
    await send_next(sender)
    faulty.refused.clear()

    await switch(mails, on=False)
    async with mails.store.transaction() as tx:
        await mails.store.requeue(tx, message_id, mails.clock.now())
    await send_next(sender)

    assert (await mails.store.find(message_id)).status is MessageStatus.SUPPRESSED
    assert faulty.accepted == []


@pytest.mark.parametrize("repeats_in_doubt", [True, False])
async def test_a_mail_that_is_suppressed_in_doubt_is_marked(
    mails: MailFixture, faulty: FaultyMailServer, *, repeats_in_doubt: bool
) -> None:
    """A mail that is switched off after an interrupted attempt is marked as possibly sent, and is not sent again."""
    message_id = await mails.add(category=WAITING_LIST, repeats_in_doubt=repeats_in_doubt)
    assert await mails.store.claim(mails.clock.now()) is not None  # then its process is killed
    await switch(mails, on=False)
    mails.clock.advance(LEASE)

    assert await send_next(mails.new_sender(faulty.url))

    message = await mails.store.find(message_id)
    assert (message.status, message.attempts, message.may_have_been_sent) == (MessageStatus.SUPPRESSED, 1, True)
    assert faulty.received == []


async def test_an_expired_mail_stays_expired(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A mail that is both expired and switched off is EXPIRED."""
    await switch(mails, on=False)
    message_id = await mails.add(category=WAITING_LIST, lifetime=timedelta(hours=1))
    mails.clock.advance(timedelta(hours=1))
    await send_next(mails.new_sender(faulty.url))

    assert (await mails.store.find(message_id)).status is MessageStatus.EXPIRED


async def test_a_suppressed_mail_is_deleted_after_the_retention_time(
    mails: MailFixture, faulty: FaultyMailServer
) -> None:
    """A suppressed mail is deleted after the same time as a sent one."""
    await switch(mails, on=False)
    await mails.add(category=WAITING_LIST)
    await send_next(mails.new_sender(faulty.url))
    mails.clock.advance(RETENTION + timedelta(hours=1))

    assert await mails.store.delete_old(mails.clock.now() - RETENTION) == 1
