from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import (
    CardDeclined,
    GymClosed,
    InsufficientCredits,
    OfferNotFound,
    OfferNotOpen,
    ScopeMissing,
    SlotOffered,
    Unavailable,
    UserNotActive,
)
from interceptors.idempotency import REPLAYED
from services.session.offers.domain import WaitingListMode
from solo60.gym.v1.gym_pb2 import (
    WAITING_LIST_MODE_NOTIFY_ALL,
    GetGymRequest,
    OpeningHours,
    UpdateGymRequest,
)
from solo60.session.v1.session_pb2 import (
    OFFER_STATUS_CLAIMED,
    OFFER_STATUS_DECLINED,
    OFFER_STATUS_EXPIRED,
    OFFER_STATUS_OPEN,
    OFFER_STATUS_WITHDRAWN,
    SESSION_STATUS_CONFIRMED,
    SESSION_STATUS_PENDING_APPROVAL,
    ClaimOfferRequest,
    DeclineOfferRequest,
    ExpireOfferRequest,
    GetOfferRequest,
    JoinWaitingListRequest,
    RescheduleSessionRequest,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.user.v1.user_pb2 import UpdateUserRequest, User, UserState
from tests.services.session.booking_mesh import (
    BY_CARD,
    BY_CREDITS,
    BY_DECLINED_CARD,
    CREDITS_PER_HOUR,
    HOUR,
    TOMORROW,
    book_request,
    period,
    with_key,
)
from tests.services.session.faults import FaultKind, break_service
from tests.services.session.offers.offering_mesh import (
    claim,
    find_offer,
    freed,
    mails_about_offers,
    offering_gym,
    open_offers,
    wait_for_mode,
)
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.session.booking_mesh import BookingMesh

# The call that expires an offer is due now.
MAKE_DUE = "update outbox set due_time = now() where destination like '%ExpireOffer' and status = 'pending'"


@pytest.mark.requirement("J2")
async def test_a_freed_slot_is_offered_claimed_and_booked(booking_mesh: BookingMesh) -> None:
    """The first waiting member gets a mail with the offer, claims it with the id in the mail, and has the session."""
    first, second = [await booking_mesh.create_member(email=f"{name}@members.example") for name in ("ada", "grace")]

    (offer,) = await freed(booking_mesh, first, second)

    (mail,) = await mails_about_offers(booking_mesh, 1)
    assert mail.recipient == "ada@members.example"
    assert "12.50 GBP or 3 credits" in mail.body
    assert re.findall(r"Offer: +(\S+)", mail.body) == [offer.offer_id]
    assert (offer.user_id, offer.status, offer.period) == (first, OFFER_STATUS_OPEN, period())
    with pytest.raises(SlotOffered):
        await booking_mesh.book(book_request(second, offer.gym_id))
    assert await booking_mesh.busy_periods(offer.gym_id) == [period()]

    session = await claim(booking_mesh, offer, BY_CARD)

    assert await booking_mesh.sessions_of(first) == [session]
    assert (session.status, session.user_id, session.period) == (SESSION_STATUS_CONFIRMED, first, period())
    assert await booking_mesh.payment_statuses(session.session_id) == ["CAPTURED"]
    assert (await find_offer(booking_mesh, offer.offer_id)).status == OFFER_STATUS_CLAIMED
    subjects = [
        each.subject.strip() for each in await booking_mesh.wait_for_mails(4) if each.recipient == mail.recipient
    ]
    assert sorted(subject.partition(":")[0] for subject in subjects) == ["Booked", "Held for you"]


async def test_a_declined_or_expired_offer_passes_on_until_the_slot_is_free(booking_mesh: BookingMesh) -> None:
    """The slot passes from a member who declines to one who lets the offer expire, and then is free for all."""
    members = [await booking_mesh.create_member(email=f"{name}@members.example") for name in ("ada", "grace")]
    (offer,) = await freed(booking_mesh, *members)
    await mails_about_offers(booking_mesh, 1)

    for _ in range(2):
        await booking_mesh.sessions.DeclineOffer(DeclineOfferRequest(offer_id=offer.offer_id))

    assert (await find_offer(booking_mesh, offer.offer_id)).status == OFFER_STATUS_DECLINED
    (offer,) = await open_offers(booking_mesh)
    assert offer.user_id == members[1]
    assert [mail.recipient.partition("@")[0] for mail in await mails_about_offers(booking_mesh, 2)] == ["ada", "grace"]
    async with booking_mesh.mesh.database("session").transaction() as connection:
        await connection.execute(MAKE_DUE)
        await connection.execute("notify outbox")
    await booking_mesh.wait_until_settled()
    assert (await find_offer(booking_mesh, offer.offer_id)).status == OFFER_STATUS_EXPIRED
    await booking_mesh.book(book_request(members[0], offer.gym_id))


async def test_a_failed_payment_leaves_the_offer_to_the_member(booking_mesh: BookingMesh) -> None:
    """After a declined card or too few credits the offer is open, and another payment method books the slot once."""
    member = await booking_mesh.create_member(credits_granted=0)
    (offer,) = await freed(booking_mesh, member)

    with pytest.raises(CardDeclined):
        await claim(booking_mesh, offer, BY_DECLINED_CARD)
    with pytest.raises(InsufficientCredits):
        await claim(booking_mesh, offer)

    assert await find_offer(booking_mesh, offer.offer_id) == offer
    assert await booking_mesh.sessions_of(member) == []
    session = await claim(booking_mesh, offer, BY_CARD)
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.payment_statuses(session.session_id) == ["CAPTURED"]
    assert await booking_mesh.sessions_of(member) == [session]


@pytest.mark.requirement("J6")
@pytest.mark.parametrize("kind", [FaultKind.CALL_LOST, FaultKind.ANSWER_LOST], ids=["not reached", "answer lost"])
async def test_a_claim_survives_an_outage_of_payment(booking_mesh: BookingMesh, kind: FaultKind) -> None:
    """If the charge or its answer is lost, a repetition with the same key books and charges once."""
    member = await booking_mesh.create_member()
    (offer,) = await freed(booking_mesh, member)
    fault = await break_service(booking_mesh, "payment", "ChargeSession", kind)
    request, key = ClaimOfferRequest(offer_id=offer.offer_id, payment_method=BY_CREDITS), with_key("claim")

    async def is_claimed() -> bool:
        try:
            await booking_mesh.sessions.ClaimOffer(request, metadata=key)
        except Unavailable:
            return False
        return True

    await eventually(is_claimed)

    assert fault.remaining == 0
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.balance(member) == 100 - CREDITS_PER_HOUR
    (session,) = await booking_mesh.sessions_of(member)
    again = booking_mesh.sessions.ClaimOffer(request, metadata=key)
    assert (await again).session == session
    assert (REPLAYED, "true") in tuple(await again.trailing_metadata())


@pytest.mark.requirement("J6")
async def test_offers_survive_a_restart(booking_mesh: BookingMesh) -> None:
    """An offer made before a restart is mailed, passed on and claimed afterwards."""
    await booking_mesh.stop("communication")
    members = [await booking_mesh.create_member(email=f"{name}@members.example") for name in ("ada", "grace")]
    (offer,) = await freed(booking_mesh, *members)
    await booking_mesh.stop("session")
    await booking_mesh.start("session")
    await booking_mesh.start("communication")

    assert [mail.recipient for mail in await mails_about_offers(booking_mesh, 1)] == ["ada@members.example"]
    await booking_mesh.sessions.DeclineOffer(DeclineOfferRequest(offer_id=offer.offer_id))
    (passed_on,) = await open_offers(booking_mesh)
    assert (await claim(booking_mesh, passed_on)).user_id == members[1]


async def test_one_of_many_concurrent_claims_is_charged(booking_mesh: BookingMesh) -> None:
    """Of eight concurrent claims of one offer, one books and is charged, and seven fail with OFFER_NOT_OPEN."""
    member = await booking_mesh.create_member()
    (offer,) = await freed(booking_mesh, member)

    answers = await asyncio.gather(*[claim(booking_mesh, offer) for _ in range(8)], return_exceptions=True)

    assert [type(answer) for answer in answers].count(OfferNotOpen) == 7
    await booking_mesh.wait_until_settled()
    assert await booking_mesh.balance(member) == 100 - CREDITS_PER_HOUR


@pytest.mark.requirement("A3")
async def test_the_offer_of_a_deleted_user_passes_on(booking_mesh: BookingMesh) -> None:
    """If a member leaves Solo60 while a slot is offered, the offer is withdrawn and passes to the next member."""
    members = [await booking_mesh.create_member() for _ in range(2)]
    (offer,) = await freed(booking_mesh, *members)
    leaver = User(user_id=members[0], state=UserState.USER_STATE_DELETED)
    await booking_mesh.users.UpdateUser(UpdateUserRequest(user=leaver, update_mask=FieldMask(paths=["state"])))

    async def is_passed_on() -> bool:
        return [each.user_id for each in await open_offers(booking_mesh)] == members[1:]

    await eventually(is_passed_on)
    assert (await find_offer(booking_mesh, offer.offer_id)).status == OFFER_STATUS_WITHDRAWN


async def test_a_suspended_member_cannot_claim(booking_mesh: BookingMesh) -> None:
    """A suspended member's claim fails with USER_NOT_ACTIVE, and the offer stays open."""
    member = await booking_mesh.create_member()
    (offer,) = await freed(booking_mesh, member)
    suspended = User(user_id=member, state=UserState.USER_STATE_SUSPENDED)
    await booking_mesh.users.UpdateUser(UpdateUserRequest(user=suspended, update_mask=FieldMask(paths=["state"])))

    with pytest.raises(UserNotActive):
        await claim(booking_mesh, offer)

    assert await open_offers(booking_mesh) == [offer]


async def test_a_claimed_session_may_need_approval(booking_mesh: BookingMesh) -> None:
    """In a gym that approves sessions, a claimed session waits for approval like any other."""
    gym = await offering_gym(booking_mesh, requires_approval=True)
    (offer,) = await freed(booking_mesh, await booking_mesh.create_member(), gym=gym)

    assert (await claim(booking_mesh, offer)).status == SESSION_STATUS_PENDING_APPROVAL


async def test_a_moved_session_offers_its_old_slot(booking_mesh: BookingMesh) -> None:
    """The old slot of a moved session is offered, and an offered slot cannot be the target of a move."""
    gym, waiting = await offering_gym(booking_mesh), await booking_mesh.create_member()
    session = await booking_mesh.book(book_request(await booking_mesh.create_member(), gym))
    await booking_mesh.sessions.JoinWaitingList(JoinWaitingListRequest(user_id=waiting, gym_id=gym, period=period()))
    request = RescheduleSessionRequest(session_id=session.session_id, period=period(TOMORROW + HOUR), etag=session.etag)

    moved = (await booking_mesh.sessions.RescheduleSession(request)).session

    assert [(each.user_id, each.period) for each in await open_offers(booking_mesh)] == [(waiting, period())]
    back = RescheduleSessionRequest(session_id=session.session_id, period=period(), etag=moved.etag)
    with pytest.raises(SlotOffered):
        await booking_mesh.sessions.RescheduleSession(back)


async def test_a_gym_can_go_back_to_mails(booking_mesh: BookingMesh) -> None:
    """After UpdateGym sets the mode to NOTIFY_ALL, a freed slot is announced to all waiting members."""
    gym_id = await offering_gym(booking_mesh)
    gym = (await booking_mesh.gyms.GetGym(GetGymRequest(gym_id=gym_id))).gym
    gym.waiting_list_mode = WAITING_LIST_MODE_NOTIFY_ALL
    await booking_mesh.gyms.UpdateGym(UpdateGymRequest(gym=gym, update_mask=FieldMask(paths=["waiting_list_mode"])))
    await wait_for_mode(booking_mesh, gym_id, WaitingListMode.NOTIFY_ALL)

    members = [await booking_mesh.create_member() for _ in range(2)]
    assert await freed(booking_mesh, *members, gym=gym_id) == []

    mails = await booking_mesh.wait_for_mails(4)
    assert sum(mail.subject.strip().startswith("Free again") for mail in mails) == 2


async def test_nobody_waits_for_a_period_outside_the_opening_hours(booking_mesh: BookingMesh) -> None:
    """JoinWaitingList fails with GYM_CLOSED for a period that the gym would not book."""
    gym = await booking_mesh.create_gym(opening_hours=OpeningHours(opens_minute=0, closes_minute=60))
    request = JoinWaitingListRequest(user_id=await booking_mesh.create_member(), gym_id=gym, period=period())

    with pytest.raises(GymClosed):
        await booking_mesh.sessions.JoinWaitingList(request)


async def test_an_unknown_offer_is_not_found(booking_mesh: BookingMesh) -> None:
    """Each call about an unknown offer fails with OFFER_NOT_FOUND."""
    unknown, sessions = str(uuid4()), booking_mesh.sessions
    for call in (
        sessions.GetOffer(GetOfferRequest(offer_id=unknown)),
        sessions.ClaimOffer(ClaimOfferRequest(offer_id=unknown, payment_method=BY_CREDITS)),
        sessions.DeclineOffer(DeclineOfferRequest(offer_id=unknown)),
        sessions.ExpireOffer(ExpireOfferRequest(offer_id=unknown)),
    ):
        with pytest.raises(OfferNotFound):
            await call


@pytest.mark.requirement("S1")
async def test_a_caller_without_the_scopes_cannot_decide_on_an_offer(booking_mesh: BookingMesh) -> None:
    """The payment service has none of the scopes session.read, session.write and session.react."""
    unknown, sessions = str(uuid4()), booking_mesh.mesh.stub(SessionServiceStub, caller="payment")
    for call in (
        sessions.GetOffer(GetOfferRequest(offer_id=unknown)),
        sessions.ClaimOffer(ClaimOfferRequest(offer_id=unknown, payment_method=BY_CREDITS)),
        sessions.DeclineOffer(DeclineOfferRequest(offer_id=unknown)),
        sessions.ExpireOffer(ExpireOfferRequest(offer_id=unknown)),
    ):
        with pytest.raises(ScopeMissing):
            await call
