from __future__ import annotations

import asyncio
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from contracts.errors import InvalidRequest, PaymentNotCaptured
from local.mail_sink import MailSink, read_mails
from services.communication.app import SERVICE as COMMUNICATION
from services.payment.app import SERVICE
from solo60.communication.v1.communication_pb2 import AUDIENCE_OPERATORS
from solo60.payment.v1.payment_pb2 import (
    PAYMENT_STATUS_CAPTURED,
    PAYMENT_STATUS_REFUNDED,
    GetPaymentRequest,
    OnUserErasedRequest,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.user.v1.events_pb2 import UserErased
from tests.services.payment.charged import SECRET, Charged, charged, mesh, refunded_session
from tests.services.payment.disputes.dispute_events import dispute
from tests.services.payment.failed_refunds.refund_events import refund_event
from tests.services.payment.ledger_queries import company_account_sum, count
from tests.services.payment.requests import PENCE, balance, credit_back, refund, refund_part
from tests.services.payment.stripe_mesh import refunded
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.serving import Serve
    from tests.support.stripe_server import StripeServer

__all__ = ["charged", "mesh", "refunded_session"]


async def sums(session: Charged) -> dict[str, int]:
    """Return the sums of the company's accounts for money."""
    return {kind: await company_account_sum(session.database, kind, "GBP") for kind in ("cards", "income", "owed")}


async def failed_refunds_of(session: Charged) -> list[tuple[str, int, str]]:
    """Return id, amount and reason of the payment's failed refunds."""
    failed = (await session.payment()).failed_refunds
    return [(each.processor_refund_id, each.money.minor_units, each.reason) for each in failed]


async def test_the_money_of_a_failed_refund_is_owed(refunded_session: Charged) -> None:
    """A failed refund appears on the refunded payment, its money is owed to the member, and operators are notified."""
    answer = await refunded_session.deliver(refund_event(refunded_session.intent_id))

    assert (answer.is_dispute, answer.is_failed_refund) == (False, True)
    stored = await refunded_session.payment()
    found = (await refunded_session.payments.GetPayment(GetPaymentRequest(payment_id=stored.payment_id))).payment
    (failed,) = found.failed_refunds
    assert (failed.processor_refund_id, failed.reason) == ("re_1", "lost_or_stolen_card")
    assert (failed.money.currency_code, failed.money.minor_units) == ("GBP", PENCE)
    assert found.status == PAYMENT_STATUS_REFUNDED
    assert [each.money.minor_units for each in found.refunds] == [PENCE]
    assert await sums(refunded_session) == {"cards": -PENCE, "income": 0, "owed": PENCE}
    (mail,) = await refunded_session.notifications()
    assert (mail.audience, mail.template_key) == (AUDIENCE_OPERATORS, "REFUND_FAILED")
    assert mail.variables["payment_id"] == stored.payment_id
    assert "by a bank transfer" in mail.variables["remedy"]


async def test_a_canceled_refund_is_a_failed_one(refunded_session: Charged) -> None:
    """A canceled refund has not reached the member either."""
    await refunded_session.deliver(refund_event(refunded_session.intent_id, "canceled", "refund.updated"))

    assert await failed_refunds_of(refunded_session) == [("re_1", PENCE, "canceled")]
    assert await sums(refunded_session) == {"cards": -PENCE, "income": 0, "owed": PENCE}


async def test_a_failed_part_leaves_the_rest_of_the_payment(charged: Charged, stripe_server: StripeServer) -> None:
    """A failed partial refund is owed. A refund of the session then returns the rest, and not the part again."""
    await charged.payments.RefundSession(refund_part(charged.request, 250))
    await charged.deliver(refund_event(charged.intent_id, amount=250))
    payment_before, sums_before = await charged.payment(), await sums(charged)

    await charged.payments.RefundSession(refund(charged.request))

    assert payment_before.status == PAYMENT_STATUS_CAPTURED
    assert sums_before == {"cards": -PENCE, "income": PENCE - 250, "owed": 250}
    assert (await charged.payment()).status == PAYMENT_STATUS_REFUNDED
    assert sorted(refunded(stripe_server)) == [250, PENCE - 250]
    assert await sums(charged) == {"cards": -250, "income": 0, "owed": 250}


async def test_each_failed_part_is_stored(charged: Charged) -> None:
    """Two failed parts of one payment are two failed refunds, oldest first, with one mail each."""
    for minor_units in (250, 300):
        await charged.payments.RefundSession(refund_part(charged.request, minor_units))
    for refund_id, minor_units in (("re_b", 250), ("re_a", 300)):
        await charged.deliver(refund_event(charged.intent_id, id=refund_id, amount=minor_units))

    assert [each[:2] for each in await failed_refunds_of(charged)] == [("re_b", 250), ("re_a", 300)]
    assert (await sums(charged))["owed"] == 550
    assert len(await charged.notifications()) == 2


async def test_nothing_refunds_the_payment_a_second_time(
    refunded_session: Charged, stripe_server: StripeServer
) -> None:
    """After a failed refund, no method refunds the session again, to the card or in credits."""
    await refunded_session.deliver(refund_event(refunded_session.intent_id))

    await refunded_session.payments.RefundSession(refund(refunded_session.request))
    await refunded_session.payments.CreditBackSession(credit_back(refunded_session.request))
    with pytest.raises(PaymentNotCaptured):
        await refunded_session.payments.RefundSession(refund_part(refunded_session.request, 250))

    assert refunded(stripe_server) == [PENCE]
    assert await balance(refunded_session.payments, refunded_session.request.user_id) == 0
    assert (await sums(refunded_session))["owed"] == PENCE


async def test_a_report_may_come_before_the_refund_is_recorded(charged: Charged) -> None:
    """A failure that is reported before the refund is recorded leads to the same state as one reported after it."""
    await charged.deliver(refund_event(charged.intent_id))
    await charged.payments.RefundSession(refund(charged.request))

    assert (await charged.payment()).status == PAYMENT_STATUS_REFUNDED
    assert await sums(charged) == {"cards": -PENCE, "income": 0, "owed": PENCE}


async def test_the_order_and_number_of_webhooks_do_not_matter(refunded_session: Charged) -> None:
    """Reports of one refund in any order, each delivered twice, lead to one failed refund and one mail."""
    reports = [("pending", "refund.created"), ("failed", "refund.failed"), ("failed", "charge.refund.updated")]
    orders = list(permutations(reports))
    for number, order in enumerate(orders):
        for status, event_type in (*order, *order):
            payload = refund_event(refunded_session.intent_id, status, event_type, id=f"re_{number}", amount=10)
            await refunded_session.deliver(payload)

    assert len(await failed_refunds_of(refunded_session)) == len(orders)
    assert (await sums(refunded_session))["owed"] == 10 * len(orders)
    assert len(await refunded_session.notifications()) == len(orders)


async def test_concurrent_deliveries_take_effect_once(refunded_session: Charged) -> None:
    """Twenty concurrent deliveries of one failed refund store, post and mail it once."""
    payloads = [
        refund_event(refunded_session.intent_id, event_type=each) for each in ("refund.failed", "refund.updated")
    ]

    await asyncio.gather(*[refunded_session.deliver(each) for each in payloads * 10])

    assert len(await failed_refunds_of(refunded_session)) == 1
    assert (await sums(refunded_session))["owed"] == PENCE
    assert len(await refunded_session.notifications()) == 1


async def test_a_failed_refund_of_an_unknown_charge_notifies_the_operators(charged: Charged) -> None:
    """A failed refund of a charge of another service is stored and mailed once, and moves no money here."""
    for intent_id in ("pi_of_a_subscription", None):
        payload = refund_event("", payment_intent=intent_id, id=f"re_{intent_id}")
        await asyncio.gather(*[charged.deliver(payload) for _ in range(10)])

    mails = await charged.notifications()
    assert [each.variables["payment_id"] for each in mails] == ["not a payment of a session"] * 2
    assert await failed_refunds_of(charged) == []
    assert await count(charged.database, "failed_refunds where payment_id is null") == 2
    assert await sums(charged) == {"cards": -PENCE, "income": PENCE, "owed": 0}


@pytest.mark.parametrize("status", ["pending", "requires_action", "succeeded"])
async def test_a_refund_that_has_not_failed_changes_nothing(refunded_session: Charged, status: str) -> None:
    """A refund with another status is accepted and changes nothing."""
    answer = await refunded_session.deliver(refund_event(refunded_session.intent_id, status, "refund.updated"))

    assert not answer.is_failed_refund
    assert await count(refunded_session.database, "failed_refunds") == 0
    assert await refunded_session.notifications() == []


@pytest.mark.parametrize("fields", [{"amount": 0}, {"id": None}, {"id": "Ada's card"}])
async def test_a_failed_refund_that_cannot_be_parsed_is_rejected(charged: Charged, fields: dict[str, Any]) -> None:
    """A signed event that cannot be parsed is INVALID_REQUEST, repeats no value, and changes nothing."""
    with pytest.raises(InvalidRequest) as caught:
        await charged.deliver(refund_event(charged.intent_id, **fields))

    assert "Ada" not in f"{caught.value} {caught.value.violations}"
    assert await count(charged.database, "failed_refunds") == 0


async def test_a_refund_that_failed_for_a_dispute_waits_for_its_end(refunded_session: Charged) -> None:
    """If the member disputes the payment, the mail asks to wait, because the bank may return the money."""
    reason = "charge_for_pending_refund_disputed"
    await refunded_session.deliver(refund_event(refunded_session.intent_id, failure_reason=reason))

    (mail,) = await refunded_session.notifications()
    assert "only if the dispute is won" in mail.variables["remedy"]
    assert "GrantCredits" not in mail.variables["remedy"]


async def test_a_refund_that_failed_during_a_dispute_waits_for_its_end(charged: Charged) -> None:
    """If the payment is disputed, the mail asks to wait, whatever the reason of the failure is."""
    await charged.payments.RefundSession(refund_part(charged.request, 250))
    await charged.deliver(dispute(charged.intent_id, "needs_response"))

    await charged.deliver(refund_event(charged.intent_id, amount=250))

    _, mail = await charged.notifications()
    assert "only if the dispute is won" in mail.variables["remedy"]


async def test_an_erasure_leaves_a_failed_refund(refunded_session: Charged) -> None:
    """A failed refund and its mail remain after the erasure of the member, without personal data: it is still owed."""
    await refunded_session.deliver(refund_event(refunded_session.intent_id))
    erased = UserErased(user_id=refunded_session.request.user_id)

    await refunded_session.payments.OnUserErased(OnUserErasedRequest(event=erased))

    assert await failed_refunds_of(refunded_session) == [("re_1", PENCE, "lost_or_stolen_card")]
    assert (await sums(refunded_session))["owed"] == PENCE
    assert len(await refunded_session.notifications()) == 1
    async with refunded_session.database.connection() as connection:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        queries = [f"select t::text from {table[0]} as t" for table in tables]  # noqa: S608 - a name from the catalog
        texts = [row[0] for query in queries for row in await connection.fetch(query)]
    assert [text for text in texts if "Ada" in text] == []


async def test_operators_get_a_mail(serve: Serve, stripe_server: StripeServer, tmp_path: Path) -> None:
    """The mail of a failed refund says how much is owed, and how to return it."""
    async with MailSink(tmp_path / "inbox", port=0) as mail_sink:
        settings = {
            **stripe_server.settings(),
            "card_processor_webhook_secrets": SECRET,
            "smtp_url": SecretStr(mail_sink.url),
        }
        mesh = await serve(SERVICE, COMMUNICATION, **settings)
        session = await Charged.at(stripe_server, mesh, mesh.stub(PaymentServiceStub))
        await session.payments.RefundSession(refund(session.request))

        for _ in range(2):
            await session.deliver(refund_event(session.intent_id))

        await eventually(lambda: len(read_mails(tmp_path / "inbox")) == 1)
        await mesh.close()
    (mail,) = read_mails(tmp_path / "inbox")
    assert mail.subject == "Refund re_1 failed: 12.50 GBP"
    assert mail.recipient == "operators@solo60.example"
    assert "Return the money by a bank transfer, or as credits with GrantCredits." in " ".join(mail.body.split())
