"""Story of approvals: an admin approves one booking, and rejects another, whose member gets the money back."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from cli.demos.evidence import spans_of, traced
from cli.demos.payment_methods import BY_CARD, WITH_CREDITS
from cli.demos.wording import price, slot, status
from cli.gyms import HARBOUR_LOFTS
from solo60.payment.v1.payment_pb2 import PaymentStatus
from solo60.session.v1.session_pb2 import ApproveSessionRequest, RejectSessionRequest, SessionStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cli.demos.stage import Stage
    from cli.demos.story import Fact, Step
    from solo60.session.v1.session_pb2 import Session

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
        _facts_of(first, credits=first.credits, balance=await stage.balance(dana)),
        mails=await stage.inbox.wait_for(stage.admins, about=first.session_id),
    )

    first = (await stage.sessions.ApproveSession(ApproveSessionRequest(session_id=first.session_id))).session
    yield stage.step(
        "approved", "An admin approves the booking.", _facts_of(first), mails=await stage.inbox.wait_for(dana)
    )

    second = await stage.book(sam, gym, BY_CARD)
    yield stage.step(
        "requested by card",
        f"Sam asks for {slot(second.period)}, and pays {price(second.price)} by card.",
        _facts_of(second, price=price(second.price)),
        mails=await stage.inbox.wait_for(stage.admins, about=second.session_id),
    )

    with traced("approval") as trace_id:
        reject = RejectSessionRequest(session_id=second.session_id, reason=REASON)
        second = (await stage.sessions.RejectSession(reject)).session
    payment = await stage.refunded_payment(second)
    yield stage.step(
        "rejected",
        f"An admin rejects this one, with a reason. Sam's card gets {price(payment.refund.money)} back.",
        _facts_of(
            second,
            reason=REASON,
            payment=status(PaymentStatus.Name(payment.status)),
            refund=price(payment.refund.money),
        ),
        mails=await stage.inbox.wait_for(sam),
        spans=await spans_of(stage.settings, trace_id, ["session", "user", "gym", "payment", "communication"]),
    )


def _facts_of(session: Session, **facts: Fact) -> dict[str, Fact]:
    return {
        "status": status(SessionStatus.Name(session.status)),
        "start_time": session.period.start_time.ToDatetime(UTC),
        **facts,
        "session_id": session.session_id,
    }
