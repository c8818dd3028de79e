"""States of the payment service in which the session service has expectations. A session costs £12.50 or 3 credits."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from contracts.errors import CardDeclined
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.requests import (
    BY_CARD,
    BY_CREDITS,
    BY_DECLINED_CARD,
    CREDITS,
    charge,
    grant,
    refund,
    some_id,
)

if TYPE_CHECKING:
    from solo60.payment.v1.payment_pb2 import PaymentMethod
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def a_session_that_is_not_charged(_mesh: MeshForTests) -> dict[str, object]:
    """Return the ids of a session and its user that the payment service does not know."""
    return {"session_id": some_id(), "user_id": some_id()}


async def a_user_with_credits(mesh: MeshForTests, credits_granted: int = CREDITS) -> dict[str, object]:
    """Grant credits to a new user, by default enough for a session."""
    user_id = some_id()
    await grant(mesh.stub(PaymentServiceStub), user_id, credits_granted)
    return {"session_id": some_id(), "user_id": user_id}


async def a_user_with_too_few_credits(mesh: MeshForTests) -> dict[str, object]:
    """Grant one credit less than a session costs."""
    return await a_user_with_credits(mesh, CREDITS - 1)


async def a_user_with_a_card(mesh: MeshForTests, card: PaymentMethod = BY_CARD) -> dict[str, object]:
    """Return the token of a card that the card processor accepts, unless another one is given."""
    return {**await a_session_that_is_not_charged(mesh), "card_token": card.card.card_token}


async def a_user_with_a_card_that_is_declined(mesh: MeshForTests) -> dict[str, object]:
    """Return the token of a card that the card processor declines."""
    return await a_user_with_a_card(mesh, BY_DECLINED_CARD)


async def a_charged_session(
    mesh: MeshForTests, method: PaymentMethod = BY_CREDITS, *, price_in_credits: int = CREDITS
) -> dict[str, object]:
    """Charge a new user for a new session, who has enough credits for it."""
    payments, request = mesh.stub(PaymentServiceStub), charge(method)
    request.credits = price_in_credits
    await grant(payments, request.user_id, CREDITS)
    await payments.ChargeSession(request)
    return {"session_id": request.session_id, "user_id": request.user_id}


async def a_session_paid_by_card(mesh: MeshForTests) -> dict[str, object]:
    """Charge a new session to a card."""
    return await a_charged_session(mesh, BY_CARD)


async def a_session_that_is_charged_at_another_price(mesh: MeshForTests) -> dict[str, object]:
    """Charge a new session at one credit less than usual."""
    return await a_charged_session(mesh, price_in_credits=CREDITS - 1)


async def a_session_with_a_declined_payment(mesh: MeshForTests) -> dict[str, object]:
    """Charge a new session to a card that is declined."""
    request = charge(BY_DECLINED_CARD)
    with suppress(CardDeclined):
        await mesh.stub(PaymentServiceStub).ChargeSession(request)
    return {"session_id": request.session_id, "user_id": request.user_id}


async def a_voided_session(mesh: MeshForTests) -> dict[str, object]:
    """Refund a session that was not charged."""
    request = charge()
    await mesh.stub(PaymentServiceStub).RefundSession(refund(request))
    return {"session_id": request.session_id, "user_id": request.user_id}


STATES: States = {
    "a session paid by card": a_session_paid_by_card,
    "a session paid in credits": a_charged_session,
    "a session that is charged at another price": a_session_that_is_charged_at_another_price,
    "a session that is not charged": a_session_that_is_not_charged,
    "a session with a declined payment": a_session_with_a_declined_payment,
    "a user with a card that is declined": a_user_with_a_card_that_is_declined,
    "a user with a valid card": a_user_with_a_card,
    "a user with enough credits": a_user_with_credits,
    "a user with too few credits": a_user_with_too_few_credits,
    "a voided session": a_voided_session,
}
