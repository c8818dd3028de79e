"""Story of a cancellation: money back for the member, mail for the guest, and the slot for a waiting member."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from cli.demos.evidence import spans_of, traced
from cli.demos.payment_methods import BY_CARD, WITH_CREDITS
from cli.demos.stage import person_of
from cli.demos.waiting import refusal
from cli.demos.wording import facts_of_error, moment, price, slot, status
from cli.gyms import OLD_MILL
from contracts.errors import SlotOffered, SlotTaken
from solo60.payment.v1.payment_pb2 import PaymentStatus
from solo60.session.v1.session_pb2 import (
    BookSessionRequest,
    CancelSessionRequest,
    ClaimOfferRequest,
    GetOfferRequest,
    GetSessionRequest,
    InviteGuestRequest,
    JoinWaitingListRequest,
    OfferStatus,
    RescheduleSessionRequest,
    SessionStatus,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cli.demos.stage import Stage
    from cli.demos.story import Fact, Person, Step
    from solo60.common.v1.period_pb2 import Period
    from solo60.gym.v1.gym_pb2 import Gym
    from solo60.session.v1.session_pb2 import Session

CREDITS = 20


async def cancellation(stage: Stage) -> AsyncIterator[Step]:
    """Tell the story. The gym offers a free slot to one waiting member at a time."""
    stage.inbox.require_readable()
    gym = await stage.gym(OLD_MILL)
    dana, guest = await stage.member("Dana Demo"), person_of("Gus Guest")
    wren, omar = await stage.member("Wren Waiting", CREDITS), await stage.member("Omar Other", CREDITS)

    session = await stage.book(dana, gym, BY_CARD)
    invite = InviteGuestRequest(session_id=session.session_id, email=guest.email, name=guest.name)
    await stage.sessions.InviteGuest(invite)
    yield stage.step(
        "booked",
        f"Dana books {gym.name} for {slot(session.period)}, pays {price(session.price)} by card, and invites a guest.",
        _facts_of(session, price=price(session.price)),
        mails=[*await stage.inbox.wait_for(dana), *await stage.inbox.wait_for(guest)],
    )

    session = await _moved(stage, session, gym)
    yield stage.step(
        "moved",
        f"Dana moves the session to {slot(session.period)}. The price is the same, so nothing is charged.",
        _facts_of(session),
        mails=[*await stage.inbox.wait_for(dana), *await stage.inbox.wait_for(guest)],
    )

    taken = await refusal(_book(stage, wren, session), SlotTaken)
    wait = JoinWaitingListRequest(user_id=wren.user_id, gym_id=gym.gym_id, period=session.period)
    await stage.sessions.JoinWaitingList(wait)
    yield stage.step(
        "waiting", "Wren wants the same hour, cannot book it, and joins the waiting list.", facts_of_error(taken)
    )

    async for step in _cancelled_and_claimed(stage, session, (dana, guest, wren, omar)):
        yield step


async def _cancelled_and_claimed(
    stage: Stage, session: Session, people: tuple[Person, Person, Person, Person]
) -> AsyncIterator[Step]:
    dana, guest, wren, omar = people
    cancel = CancelSessionRequest(session_id=session.session_id, reason="I have a cold.")
    with traced("cancellation") as trace_id:
        session = (await stage.sessions.CancelSession(cancel)).session
    payment = await stage.refunded_payment(session)
    yield stage.step(
        "cancelled",
        f"Dana cancels. The card gets {price(payment.refund.money)} back, and the guest gets mail.",
        {
            **_facts_of(session),
            "payment": status(PaymentStatus.Name(payment.status)),
            "refund": price(payment.refund.money),
        },
        mails=[*await stage.inbox.wait_for(dana), *await stage.inbox.wait_for(guest)],
        spans=await spans_of(stage.settings, trace_id, ["session", "user", "gym", "payment", "communication"]),
    )

    (offered,) = await stage.inbox.wait_for(wren)
    offer = (await stage.sessions.GetOffer(GetOfferRequest(offer_id=offered.value_of("Offer")))).offer
    held = await refusal(_book(stage, omar, session), SlotOffered)
    expire_time = offer.expire_time.ToDatetime(UTC)
    yield stage.step(
        "offered",
        f"The hour is held for Wren until {moment(expire_time)}. Nobody else can book it.",
        {
            "offer": status(OfferStatus.Name(offer.status)),
            "expire_time": expire_time,
            "omar_books": held.reason_name(),
        },
        mails=[offered],
    )

    claim = ClaimOfferRequest(offer_id=offer.offer_id, payment_method=WITH_CREDITS)
    claimed = (await stage.sessions.ClaimOffer(claim)).session
    yield stage.step(
        "claimed",
        f"Wren claims the hour and pays {claimed.credits} credits.",
        _facts_of(claimed, credits=claimed.credits, balance=await stage.balance(wren)),
        mails=await stage.inbox.wait_for(wren),
    )

    await stage.sessions.CancelSession(CancelSessionRequest(session_id=claimed.session_id))
    refunded = await stage.refunded_payment(claimed)
    claimed = (await stage.sessions.GetSession(GetSessionRequest(session_id=claimed.session_id))).session
    yield stage.step(
        "cancelled again",
        f"Wren cancels too, and gets {refunded.refund.credits} credits back. The hour is free for all.",
        _facts_of(claimed, refund=refunded.refund.credits, balance=await stage.balance(wren)),
        mails=await stage.inbox.wait_for(wren),
    )


async def _moved(stage: Stage, session: Session, gym: Gym) -> Session:
    async def move(free: Period) -> Session:
        request = RescheduleSessionRequest(session_id=session.session_id, period=free, etag=session.etag)
        return (await stage.sessions.RescheduleSession(request)).session

    return await stage.in_free_hour(gym, move)


async def _book(stage: Stage, person: Person, session: Session) -> None:
    request = BookSessionRequest(
        user_id=person.user_id, gym_id=session.gym_id, period=session.period, payment_method=WITH_CREDITS
    )
    await stage.sessions.BookSession(request)


def _facts_of(session: Session, **facts: Fact) -> dict[str, Fact]:
    return {
        "status": status(SessionStatus.Name(session.status)),
        "start_time": session.period.start_time.ToDatetime(UTC),
        **facts,
        "session_id": session.session_id,
    }
