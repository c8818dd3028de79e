from __future__ import annotations

import asyncio
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

from contracts.errors import InvalidRequest, PaymentDisputed, PaymentNotCaptured
from local.mail_sink import MailSink, read_mails
from services.communication.app import SERVICE as COMMUNICATION
from services.payment.app import SERVICE
from solo60.payment.v1.payment_pb2 import (
    DISPUTE_STATUS_INQUIRY,
    DISPUTE_STATUS_LOST,
    DISPUTE_STATUS_OPEN,
    DISPUTE_STATUS_WON,
    PAYMENT_STATUS_CAPTURED,
    PAYMENT_STATUS_REFUNDED,
    REFUND_OUTCOME_DISPUTED,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.charged import SECRET, Charged, mesh
from tests.services.payment.disputes.dispute_events import dispute
from tests.services.payment.ledger_queries import company_account_sum, count, someone_waits_for_a_lock
from tests.services.payment.requests import PENCE, balance, charge, credit_back, refund, refund_part
from tests.services.payment.stripe_mesh import by_stripe, refunded
from tests.services.payment.webhook_requests import signed
from tests.support.eventually import eventually
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from pathlib import Path

    from solo60.payment.v1.payment_pb2 import Dispute
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve
    from tests.support.stripe_server import StripeServer

__all__ = ["mesh"]


class DisputableSession(Charged):
    """Session that was charged at Stripe, with reports of disputes."""

    async def report(self, status: str, dispute_id: str = "dp_1", **fields: Any) -> None:
        """Deliver a webhook that reports the status of a dispute of the charge."""
        answer = await self.deliver(dispute(self.intent_id, status, dispute_id, **fields))
        assert (answer.is_dispute, answer.is_failed_refund) == (True, False)

    async def dispute(self) -> Dispute:
        """Return the only dispute of the payment."""
        (found,) = (await self.payment()).disputes
        return found

    async def outcomes(self) -> list[str]:
        """Return the outcomes of all notifications in the outbox, in order."""
        return [each.variables["outcome"] for each in await self.notifications()]


@pytest.fixture
async def charged(
    mesh: MeshForTests, payments: PaymentServiceAsyncStub, stripe_server: StripeServer
) -> DisputableSession:
    """Charge a session at Stripe."""
    return await DisputableSession.at(stripe_server, mesh, payments)


async def test_an_open_dispute_takes_the_money_back(charged: DisputableSession) -> None:
    """An open dispute appears on the payment, moves its money in the ledger, and notifies the operators."""
    await charged.report("needs_response")

    found = await charged.dispute()
    assert (found.dispute_id, found.status, found.reason) == ("dp_1", DISPUTE_STATUS_OPEN, "fraudulent")
    assert (found.money.currency_code, found.money.minor_units) == ("GBP", PENCE)
    assert (await charged.payment()).status == PAYMENT_STATUS_CAPTURED
    assert await company_account_sum(charged.database, "disputes", "GBP") == PENCE
    assert await company_account_sum(charged.database, "income", "GBP") == 0
    assert await charged.outcomes() == ["opened"]


async def test_a_won_dispute_returns_the_money(charged: DisputableSession) -> None:
    """A won dispute returns the money in the ledger."""
    await charged.report("needs_response")
    await charged.report("won")

    assert (await charged.dispute()).status == DISPUTE_STATUS_WON
    assert await company_account_sum(charged.database, "disputes", "GBP") == 0
    assert await company_account_sum(charged.database, "income", "GBP") == PENCE
    assert await charged.outcomes() == ["opened", "won"]


async def test_a_lost_dispute_leaves_the_money_with_the_member(charged: DisputableSession) -> None:
    """A lost dispute moves no more money."""
    await charged.report("needs_response")
    await charged.report("lost")

    assert (await charged.dispute()).status == DISPUTE_STATUS_LOST
    assert await company_account_sum(charged.database, "disputes", "GBP") == PENCE
    assert await charged.outcomes() == ["opened", "lost"]


async def test_an_inquiry_moves_no_money(charged: DisputableSession) -> None:
    """An inquiry of the bank moves no money until it becomes a dispute, and none if it is closed."""
    await charged.report("warning_needs_response", "dp_1")
    await charged.report("warning_needs_response", "dp_2")
    before = [found.status for found in (await charged.payment()).disputes]
    await charged.report("warning_closed", "dp_1")
    in_ledger = await company_account_sum(charged.database, "disputes", "GBP")
    await charged.report("needs_response", "dp_2")

    assert before == [DISPUTE_STATUS_INQUIRY] * 2
    assert in_ledger == 0
    assert await company_account_sum(charged.database, "disputes", "GBP") == PENCE
    assert await charged.outcomes() == ["inquiry", "inquiry", "won", "opened"]


@pytest.mark.parametrize("end", ["won", "lost"])
async def test_the_order_and_number_of_webhooks_do_not_matter(
    mesh: MeshForTests, payments: PaymentServiceAsyncStub, stripe_server: StripeServer, end: str
) -> None:
    """Reports of one dispute in any order, each delivered twice, lead to the same state and ledger."""
    orders = list(permutations(["warning_needs_response", "needs_response", end]))
    for order in orders:
        each = await DisputableSession.at(stripe_server, mesh, payments)
        for status in (*order, *order):
            await each.report(status, f"dp_{each.request.session_id}")

        expected = DISPUTE_STATUS_WON if end == "won" else DISPUTE_STATUS_LOST
        assert (await each.dispute()).status == expected

    lost = PENCE * len(orders) if end == "lost" else 0
    assert await company_account_sum(mesh.database("payment"), "disputes", "GBP") == lost


async def test_concurrent_deliveries_take_effect_once(charged: DisputableSession) -> None:
    """Twenty concurrent deliveries of two reports post the money once, and notify once per status."""
    reports = [charged.report(status) for status in ["needs_response", "under_review"] * 10]

    await asyncio.gather(*reports)

    assert await company_account_sum(charged.database, "disputes", "GBP") == PENCE
    assert await charged.outcomes() == ["opened"]


async def test_a_dispute_of_an_unknown_charge_notifies_the_operators(charged: DisputableSession) -> None:
    """A dispute of a charge of another service moves no money here, but operators are notified once per status."""
    for status in ("needs_response", "lost"):
        webhook = signed(dispute("pi_of_a_subscription", status), charged.mesh.clock.now())
        await asyncio.gather(*[charged.payments.ProcessWebhook(webhook) for _ in range(10)])

    assert await charged.outcomes() == ["opened", "lost"]
    assert list((await charged.payment()).disputes) == []
    assert await company_account_sum(charged.database, "disputes", "GBP") == 0


async def test_a_webhook_waits_for_a_concurrent_one(charged: DisputableSession) -> None:
    """A webhook waits for a transaction that changes the same dispute, and then changes nothing again."""
    webhook = signed(dispute("pi_of_a_subscription", "needs_response"), charged.mesh.clock.now())
    await charged.payments.ProcessWebhook(webhook)
    repeated = signed(dispute("pi_of_a_subscription", "lost"), charged.mesh.clock.now())

    async with charged.database.transaction() as connection:
        await connection.execute("select from disputes for update")
        delivering = asyncio.ensure_future(charged.payments.ProcessWebhook(repeated))
        await eventually(partial(someone_waits_for_a_lock, charged.database))
        await connection.execute("update disputes set status = 'lost'")
    await delivering

    assert await charged.outcomes() == ["opened"]


async def test_no_part_of_a_disputed_payment_is_refunded(charged: DisputableSession) -> None:
    """A partial refund of a disputed payment is PAYMENT_DISPUTED, and possible again when the dispute is won."""
    await charged.report("needs_response")
    part = refund_part(charged.request, 250)
    with pytest.raises(PaymentDisputed):
        await charged.payments.RefundSession(part)

    await charged.report("won")
    await charged.payments.RefundSession(part)

    assert [each.money.minor_units for each in (await charged.payment()).refunds] == [250]


@pytest.mark.parametrize("method", ["refund", "credit_back"])
async def test_a_refund_during_a_dispute_waits_for_its_end(
    charged: DisputableSession, stripe_server: StripeServer, method: str
) -> None:
    """A refund of a disputed session returns nothing at first, and the price to the card when the dispute is won."""
    await charged.report("needs_response")
    if method == "refund":
        answer = await charged.payments.RefundSession(refund(charged.request))
        assert answer.outcome == REFUND_OUTCOME_DISPUTED
        disputed = answer.payment
    else:
        disputed = (await charged.payments.CreditBackSession(credit_back(charged.request))).payment
    assert disputed.status == PAYMENT_STATUS_CAPTURED
    assert refunded(stripe_server) == []

    await charged.report("won")

    async def is_refunded() -> bool:
        return (await charged.payment()).status == PAYMENT_STATUS_REFUNDED

    await eventually(is_refunded)
    assert refunded(stripe_server) == [PENCE]
    assert await balance(charged.payments, charged.request.user_id) == 0


async def test_a_lost_dispute_ends_a_waiting_refund(charged: DisputableSession, stripe_server: StripeServer) -> None:
    """After a lost dispute a refund is still DISPUTED, and nothing is returned a second time."""
    await charged.report("needs_response")
    await charged.payments.RefundSession(refund(charged.request))
    await charged.report("lost")

    assert (await charged.payments.RefundSession(refund(charged.request))).outcome == REFUND_OUTCOME_DISPUTED
    with pytest.raises(PaymentNotCaptured):
        await charged.payments.RefundSession(refund_part(charged.request, 250))
    assert refunded(stripe_server) == []


async def test_a_dispute_that_cannot_be_parsed_is_rejected(charged: DisputableSession) -> None:
    """A signed dispute event that cannot be parsed is INVALID_REQUEST, so that the processor delivers it again."""
    payload = dispute(charged.intent_id, "needs_response", amount=0)

    with pytest.raises(InvalidRequest):
        await charged.deliver(payload)

    assert await count(charged.database, "disputes") == 0


async def test_a_dispute_arrives_by_http_and_is_mailed(
    serve: Serve, stripe_server: StripeServer, tmp_path: Path
) -> None:
    """A webhook over HTTP opens the dispute, and operators get a mail about it. A wrong signature is 400."""
    async with MailSink(tmp_path / "inbox", port=0) as mail_sink, httpx.AsyncClient(trust_env=False) as client:
        address = f"127.0.0.1:{free_ports(1)[0]}"
        mesh = await serve(
            SERVICE,
            COMMUNICATION,
            **stripe_server.settings(),
            card_processor_webhook_secrets=SECRET,
            smtp_url=SecretStr(mail_sink.url),
            http_service="payment",
            http_address=address,
        )
        payments = mesh.stub(PaymentServiceStub)
        await payments.ChargeSession(charge(by_stripe()))
        (intent,) = stripe_server.objects("payment_intents")
        webhook = signed(dispute(intent["id"], "needs_response"), mesh.clock.now())
        url, headers = f"http://{address}/webhooks/stripe", {"Stripe-Signature": webhook.signature}

        accepted = await client.post(url, content=webhook.payload, headers=headers)
        rejected = await client.post(url, content=webhook.payload + b" ", headers=headers)

        await eventually(lambda: len(read_mails(tmp_path / "inbox")) == 1)
        await mesh.close()
    (mail,) = read_mails(tmp_path / "inbox")
    assert (accepted.status_code, rejected.status_code) == (200, 400)
    assert mail.subject == "Dispute dp_1: opened, 12.50 GBP"
    assert mail.recipient == "operators@solo60.example"
    assert "Answer until:  Friday 1 January 2027, 00:00 (UTC)" in mail.body


async def test_no_personal_data_of_a_dispute_is_stored(charged: DisputableSession) -> None:
    """No table of payment contains the evidence of a dispute, which holds personal data."""
    await charged.report("needs_response")

    async with charged.database.connection() as connection:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        queries = [f"select t::text from {table[0]} as t" for table in tables]  # noqa: S608 - a name from the catalog
        texts = [row[0] for query in queries for row in await connection.fetch(query)]
    assert any("dp_1" in text for text in texts)
    assert [text for text in texts if "Ada" in text] == []
