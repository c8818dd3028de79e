"""Story of approvals: an admin approves one booking. The member of another, which is rejected, is refunded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.demos.evidence import spans_of, traced
from cli.demos.payment_methods import BY_CARD, WITH_CREDITS
from cli.demos.wording import facts_of_session, price, slot, status
from cli.gyms import HARBOUR_LOFTS
from solo60.payment.v1.payment_pb2 import PaymentStatus
from solo60.session.v1.session_pb2 import ApproveSessionRequest, RejectSessionRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cli.demos.stage import Stage
    from cli.demos.story import Step

CREDITS = 20
REASON = "The lift is being repaired at that time."


async def approval(stage: Stage) -> AsyncIterator[Step]:
    """Tell the story of two bookings of a gym that requires approval."""
    gym = await stage.gym(HARBOUR_LOFTS)
    dana, sam = await stage.member("Dana Demo", CREDITS), await stage.member("Sam Second")

    first = await stage.book(dana, gym, WITH_CREDITS)
    yield stage.step(
        "requested",
        f"Dana asks for {gym.name} on {slot(first.period)}, and pays {first.credits} credits.",
        facts_of_session(first, credits=first.credits, balance=await stage.balance(dana)),
        mails=await stage.inbox.wait_for(stage.admins, about=first.session_id),
    )

    first = (await stage.sessions.ApproveSession(ApproveSessionRequest(session_id=first.session_id))).session
    yield stage.step(
        "approved", "An admin approves the booking.", facts_of_session(first), mails=await stage.inbox.wait_for(dana)
    )

    second = await stage.book(sam, gym, BY_CARD)
    yield stage.step(
        "requested by card",
        f"Sam asks for {slot(second.period)}, and pays {price(second.price)} by card.",
        facts_of_session(second, price=price(second.price)),
        mails=await stage.inbox.wait_for(stage.admins, about=second.session_id),
    )

    with traced("approval") as trace_id:
        reject = RejectSessionRequest(session_id=second.session_id, reason=REASON)
        second = (await stage.sessions.RejectSession(reject)).session
    payment = await stage.refunded_payment(second)
    yield stage.step(
        "rejected",
        f"An admin rejects this one, with a reason. Sam's card gets {price(payment.refund.money)} back.",
        facts_of_session(
            second,
            reason=REASON,
            payment=status(PaymentStatus.Name(payment.status)),
            refund=price(payment.refund.money),
        ),
        mails=await stage.inbox.wait_for(sam),
        spans=await spans_of(stage.settings, trace_id, ["session", "user", "gym", "payment", "communication"]),
    )
