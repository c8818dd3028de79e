"""Advance of the clock of services in this process: user and communication, with mails in the user service's outbox."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import ScopeMissing
from local.advance import Advance, OpenWork, Step
from local.keys import OPERATOR
from local.mail_sink import MailSink, read_mails
from mesh.clock import MovableClock
from mesh.serving.channel import Channels
from mesh.transaction import Transaction
from services.communication import app as communication
from services.user import app as user
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.serving import MeshForTests, Serve

DAY = timedelta(days=1)
SEND = "solo60.communication.v1.CommunicationService/SendEmailAsync"


class MailMesh:
    """User and communication service, with a mail sink on the same clock."""

    def __init__(self, mesh: MeshForTests, inbox: Path) -> None:
        self.mesh = mesh
        self.clock = mesh.clock
        self.inbox = inbox
        self.steps: list[Step] = []

    async def mail_on(self, *days: int, template_key: str = "PASSWORD_CHANGED") -> None:
        """Let the user service send a mail on each of these days from now, to "dayN@members.example"."""
        send = self.mesh.stub(CommunicationServiceStub).SendEmailAsync
        async with Transaction.begin(self.mesh.database("user")) as tx:
            for day in days:
                request = SendEmailAsyncRequest(
                    recipient=Recipient(email=f"day{day}@members.example"),
                    template_key=template_key,
                    variables={"member_name": "Ada Byron"},
                )
                await tx.call_later(send, request, at=self.clock.now() + timedelta(days=day))

    async def advance(self, days: int, **settings_of_communication: object) -> OpenWork:
        """Advance the clock, and return the work that is left open."""
        settings = {
            "user": self.mesh.settings,
            "communication": self.mesh.settings.model_copy(update=settings_of_communication),
        }
        channels = {name: Channels(each, lambda: self.mesh.keys[OPERATOR]) for name, each in settings.items()}
        outboxes = {name: each.stub(OutboxServiceStub, at=name) for name, each in channels.items()}
        run = Advance(self.clock, outboxes, self.steps.append)
        await run.run(days * DAY)
        for each in channels.values():
            await each.close()
        return run.open

    def mails(self) -> list[tuple[str, datetime]]:
        """Return the recipient and the time of each received mail, in the order of their arrival."""
        return [(mail.recipient, mail.received) for mail in read_mails(self.inbox)]


@pytest.fixture
async def mails(serve: Serve, tmp_path: Path) -> AsyncIterator[MailMesh]:
    """Start both services and a mail sink on their clock."""
    clock, scopes = MovableClock(), {"user": ["communication.send"]}
    async with MailSink(tmp_path / "inbox", port=0, clock=clock) as sink:
        mesh = await serve(communication.SERVICE, user.SERVICE, smtp_url=sink.url, extra_scopes=scopes, clock=clock)
        yield MailMesh(mesh, tmp_path / "inbox")


async def test_each_message_is_delivered_at_its_time_and_in_order(mails: MailMesh) -> None:
    """The mails of the third and the seventh day are sent in this order and on these days, before the eighth day."""
    began = mails.clock.now()
    await mails.mail_on(7, 3)

    left = await mails.advance(8)

    assert [recipient for recipient, _ in mails.mails()] == ["day3@members.example", "day7@members.example"]
    assert [(time - began).days for _, time in mails.mails()] == [3, 7]
    assert [((step.time - began).days, step.delivered) for step in mails.steps] == [(3, {SEND: 1}), (7, {SEND: 1})]
    assert 8 * DAY <= mails.clock.now() - began < 9 * DAY
    assert left.sentences() == []


async def test_work_after_the_target_is_not_done(mails: MailMesh) -> None:
    """A message of the third day is not delivered by an advance of two days."""
    await mails.mail_on(3)

    await mails.advance(2)

    assert mails.steps == []
    assert mails.mails() == []


async def test_a_failed_mail_is_retried_by_the_clock(mails: MailMesh) -> None:
    """An advance includes the retries of a mail that the mail server rejects for now, in steps of their own."""
    await mails.mail_on(1)
    inbox = mails.inbox / "new"
    inbox.rmdir()
    left = await mails.advance(2)
    assert mails.mails() == []
    assert left.sentences() == []
    assert [step.timers for step in mails.steps][1:] == [("mails",)] * (len(mails.steps) - 1)
    assert len(mails.steps) > 2


async def test_a_dead_receiver_does_not_block_the_advance(mails: MailMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a receiver is down, the advance ends, and reports the silent service and the undelivered message."""
    # Enough for the delivery to fail on a busy machine.
    monkeypatch.setattr("local.advance.PATIENCE_S", 4.0)
    await mails.mail_on(1)
    await mails.mesh.stop("communication")

    left = await mails.advance(2)

    assert left.sentences() == [
        "communication did not answer, so its work was not waited for.",
        "user: 1 message could not be delivered yet (see: solo60 outbox list user --status pending).",
    ]
    assert mails.steps == []


async def test_a_frozen_service_does_not_block_the_advance(mails: MailMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a service accepts calls and never answers, the advance continues to its end, and reports the service."""
    monkeypatch.setattr("local.advance.PATIENCE_S", 1.0)
    began = mails.clock.now()
    with closing(socket.create_server(("127.0.0.1", 0))) as frozen:
        address = f"127.0.0.1:{frozen.getsockname()[1]}"

        left = await mails.advance(2, communication_service_url=address, deadline_factor=0.05)

    assert left.sentences() == ["communication did not answer, so its work was not waited for."]
    assert mails.clock.now() >= began + 2 * DAY


async def test_work_without_progress_does_not_block_the_advance(
    mails: MailMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If work makes no progress, the advance continues and reports the service and the work."""
    monkeypatch.setattr("local.advance.PATIENCE_S", 1.0)
    await mails.mail_on(1)
    async with mails.mesh.database("communication").transaction() as connection:
        await connection.execute("lock table messages in share mode")
        left = await asyncio.wait_for(mails.advance(2), 60)

    assert "user did not finish its messages in time." in left.sentences()


async def test_new_work_of_users_does_not_block_the_advance(mails: MailMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """If users cause new work all the time, the advance continues after the longest time for a step."""
    monkeypatch.setattr("local.advance.LONGEST_STEP_S", 0.5)

    # A single message can be delivered between two looks of the advance, which would then see no work.
    batch = [0] * 100

    async def write_mails() -> None:
        while True:
            await mails.mail_on(*batch, template_key="NO_SUCH_TEMPLATE")

    await mails.mail_on(*batch, template_key="NO_SUCH_TEMPLATE")
    users = asyncio.create_task(write_mails())
    left = await asyncio.wait_for(mails.advance(2), 60)
    users.cancel()
    await asyncio.wait([users])

    assert "user did not finish its messages in time." in left.sentences()


async def test_a_caller_without_the_scope_cannot_advance(mails: MailMesh) -> None:
    """A rejected call ends the advance with its error, before the clock moves."""
    outboxes = {"user": mails.mesh.stub(OutboxServiceStub, caller="session", at="user")}

    with pytest.raises(ScopeMissing):
        await Advance(mails.clock, outboxes, mails.steps.append).run(DAY)

    assert not mails.clock.offset
