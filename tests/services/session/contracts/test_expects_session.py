"""Expectations of the session service on itself: its outbox sends the mails and ends the offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import InvitationNotFound, OfferNotFound, SessionNotFound, WaitingListEntryNotFound
from contracts.testing import SENT
from services.session.mails.domain import MailKind
from services.session.offers.domain import CLAIM_DURATION
from solo60.session.v1 import session_pb2 as pb
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.services.session.contracts.mail_consumer import MailConsumer
from tests.support.settled_messages import DELIVERED, settled

if TYPE_CHECKING:
    from contracts.errors import ServiceError
    from tests.support.consumers import Consume


async def test_a_booking_is_mailed(consume: Consume) -> None:
    """BookSession sends a confirmation, and a warning if the gym has a noise policy."""
    consumer = await MailConsumer.served(consume, noise_policy="Quiet, please")
    expect_mail(consumer, "a booked session", MailKind.BOOKED, session_id=SENT)
    expect_mail(consumer, "a booked session in a gym with a noise policy", MailKind.NOISE_WARNING, session_id=SENT)

    await consumer.book()

    assert await mails(consumer) == [DELIVERED] * 2


async def test_an_approval_and_a_rejection_are_mailed(consume: Consume) -> None:
    """BookSession asks the admins for approval. ApproveSession and RejectSession send the decision to the member."""
    consumer = await MailConsumer.served(consume, requires_approval=True)
    expect_mail(consumer, "a session that waits for approval", MailKind.APPROVAL_REQUESTED, session_id=SENT)
    approved, rejected = (await consumer.book()).session_id, (await consumer.book()).session_id
    expect_mail(consumer, "an approved session", MailKind.APPROVED, session_id=approved)
    expect_mail(consumer, "a rejected session", MailKind.REJECTED, session_id=rejected)

    await consumer.sessions.ApproveSession(pb.ApproveSessionRequest(session_id=approved))
    await consumer.sessions.RejectSession(pb.RejectSessionRequest(session_id=rejected, reason="closed"))

    assert await mails(consumer) == [DELIVERED] * 4


async def test_an_invitation_is_mailed(consume: Consume) -> None:
    """InviteGuest sends the guest an invitation."""
    consumer = await MailConsumer.served(consume)
    consumer.take_mails(MailKind.BOOKED)
    session = await consumer.book()
    expect_mail(
        consumer,
        "a booked session with a guest",
        MailKind.GUEST_INVITED,
        session_id=session.session_id,
        invitation_id=SENT,
    )

    await consumer.invite(session)

    assert await mails(consumer) == [DELIVERED] * 2


async def test_a_cancellation_is_mailed(consume: Consume) -> None:
    """CancelSession sends mails to the member, the guests, and the members who wait for the slot."""
    consumer = await MailConsumer.served(consume)
    consumer.take_mails(MailKind.BOOKED, MailKind.GUEST_INVITED)
    session = await consumer.book()
    guest, entry = await consumer.invite(session), await consumer.wait_for(session)
    session_id = session.session_id
    expect_mail(consumer, "a cancelled session", MailKind.CANCELLED, session_id=session_id)
    expect_mail(
        consumer,
        "a cancelled session with a guest",
        MailKind.GUEST_CANCELLED,
        session_id=session_id,
        invitation_id=guest.invitation_id,
    )
    expect_mail(
        consumer,
        "a cancelled session with a waiting member",
        MailKind.SPOT_AVAILABLE,
        session_id=session_id,
        entry_id=entry.entry_id,
        free_period=session.period,
    )

    await consumer.cancel(session)

    assert await mails(consumer) == [DELIVERED] * 5


async def test_a_move_is_mailed(consume: Consume) -> None:
    """RescheduleSession sends mails to the member, the guests and the members who wait, with the number of the move."""
    consumer = await MailConsumer.served(consume)
    consumer.take_mails(MailKind.BOOKED, MailKind.GUEST_INVITED)
    session = await consumer.book()
    guest, entry = await consumer.invite(session), await consumer.wait_for(session)
    session_id = session.session_id
    expect_mail(consumer, "a moved session", MailKind.RESCHEDULED, move=1, session_id=session_id)
    expect_mail(
        consumer,
        "a moved session with a guest",
        MailKind.GUEST_RESCHEDULED,
        move=1,
        session_id=session_id,
        invitation_id=guest.invitation_id,
    )
    expect_mail(
        consumer,
        "a moved session with a waiting member",
        MailKind.SPOT_AVAILABLE,
        move=1,
        session_id=session_id,
        entry_id=entry.entry_id,
        free_period=session.period,
    )

    await consumer.move(session)

    assert await mails(consumer) == [DELIVERED] * 5


async def test_an_offer_is_mailed_and_ended(consume: Consume) -> None:
    """A gym that offers slots sends the offer to the first waiting member, and ends it after the time for a claim."""
    consumer = await MailConsumer.served(consume)
    consumer.take_mails(MailKind.BOOKED, MailKind.CANCELLED)
    expect_mail(consumer, "an open offer", MailKind.SLOT_OFFERED, session_id=SENT, offer_id=SENT)
    offer_id = (await consumer.offer()).offer_id
    assert await mails(consumer) == [DELIVERED] * 3
    unclaimed = consumer.expectations.later(SessionServiceStub).given("an unclaimed offer", offer_id=offer_id)
    unclaimed.ExpireOffer(request=pb.ExpireOfferRequest(offer_id=offer_id), answer=pb.ExpireOfferResponse())

    consumer.mesh.clock.advance(CLAIM_DURATION)

    assert await settled(consumer.mesh, "session", "ExpireOffer") == [DELIVERED]


async def test_later_calls_about_what_does_not_exist_become_dead_letters(consume: Consume) -> None:
    """A mail or the end of an offer is not repeated if the session, guest, entry or offer is not found."""
    consumer = await MailConsumer.served(consume)
    expect_mail(consumer, "no session", MailKind.BOOKED, SessionNotFound(), session_id=SENT)
    expect_mail(
        consumer,
        "a session without guests",
        MailKind.GUEST_INVITED,
        InvitationNotFound(),
        session_id=SENT,
        invitation_id=SENT,
    )
    expect_mail(
        consumer,
        "a session without waiting members",
        MailKind.SPOT_AVAILABLE,
        WaitingListEntryNotFound(),
        session_id=SENT,
        entry_id=SENT,
    )
    expect_mail(
        consumer, "a session without offers", MailKind.SLOT_OFFERED, OfferNotFound(), session_id=SENT, offer_id=SENT
    )
    consumer.expectations.later(SessionServiceStub).given("no offer", offer_id=SENT).ExpireOffer(error=OfferNotFound())
    consumer.take_mails(MailKind.CANCELLED, MailKind.GUEST_CANCELLED)
    session = await consumer.book()
    await consumer.invite(session)
    await consumer.wait_for(session)
    await consumer.cancel(session)
    await consumer.offer()

    consumer.mesh.clock.advance(CLAIM_DURATION)

    reasons = {error.partition(":")[0].removeprefix("NOT_FOUND ") for error in await mails(consumer)}
    assert reasons == {
        DELIVERED,
        "SESSION_NOT_FOUND",
        "INVITATION_NOT_FOUND",
        "WAITING_LIST_ENTRY_NOT_FOUND",
        "OFFER_NOT_FOUND",
    }
    (error,) = await settled(consumer.mesh, "session", "ExpireOffer")
    assert error.startswith("NOT_FOUND OFFER_NOT_FOUND")


def expect_mail(
    consumer: MailConsumer,
    state: str,
    kind: MailKind,
    error: ServiceError | None = None,
    *,
    move: int = 0,
    **placeholders: object,
) -> None:
    """Expect that the outbox sends a mail, or that this fails with `error`."""
    request = pb.SendSessionMailRequest(template_key=kind, move=move)
    answer = None if error else pb.SendSessionMailResponse()
    given = consumer.expectations.later(SessionServiceStub).given(state, **placeholders)
    given.SendSessionMail(request=request, answer=answer, error=error)


async def mails(consumer: MailConsumer) -> list[str]:
    """Return the outcome of each mail in the outbox."""
    return await settled(consumer.mesh, "session", "SendSessionMail")
