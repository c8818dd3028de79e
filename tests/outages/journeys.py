"""Journeys of members. Each returns facts about its end, which are the same with and without faults."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from solo60.auth.v1 import auth_pb2
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.gym_pb2 import WAITING_LIST_MODE_OFFER_ONE, CreateGymRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.payment.v1.payment_pb2 import CardMethod, CreditsMethod, GrantCreditsRequest, PaymentMethod
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1 import session_pb2
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1 import subscription_pb2
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.outages.outage_mesh import OutageMesh

GRANTED, CREDITS_PER_HOUR = 100, 3
BY_CREDITS = PaymentMethod(credits=CreditsMethod())
BY_CARD = PaymentMethod(card=CardMethod(card_token="tok_visa"))  # noqa: S106 - a test card
# £39.00 a month for 40 credits, without a trial.
FOUR_HOURS = "01980000-0000-7000-8000-000000000004"
GOOD_CARD = subscription_pb2.PaymentMethod(card_token="tok_visa")  # noqa: S106 - a test card
FAILING_CARD = subscription_pb2.PaymentMethod(card_token="tok_chargeCustomerFail")  # noqa: S106 - a test card
PASSWORD, NEW_PASSWORD = "correct horse battery staple", "fair weather makes good sailing"
CODE = re.compile(r"\b(?:[0-9a-z]{5}-){4}[0-9a-z]{5}\b")
OFFER = re.compile(r"Offer: +(\S+)")
IN_A_WEEK = datetime.now(UTC).replace(hour=18, minute=0, second=0, microsecond=0) + timedelta(days=7)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

_SESSION = "select status from sessions where session_id = $1"
_PAYMENT = "select status from payments where session_id = $1"
_BALANCE = "select balance from accounts where user_id = $1"


async def cancellation(mesh: OutageMesh) -> dict[str, Any]:
    """Book, invite a guest, let another member wait, and cancel."""
    sessions, gym_id = mesh.stub(SessionServiceStub), await _create_gym(mesh)
    owner, waiting = await _create_member(mesh, "owner"), await _create_member(mesh, "waiting")
    booked = await _book(mesh, owner, gym_id)
    guest = session_pb2.InviteGuestRequest(session_id=booked.session_id, email=_address("guest"), name="Grace")
    await mesh.call(sessions.InviteGuest, guest)
    await mesh.call(
        sessions.JoinWaitingList,
        session_pb2.JoinWaitingListRequest(user_id=waiting, gym_id=gym_id, period=booked.period),
    )
    await mesh.settle()
    await mesh.call(sessions.CancelSession, session_pb2.CancelSessionRequest(session_id=booked.session_id))
    return await _facts(mesh, owner, [booked])


async def approval(mesh: OutageMesh) -> dict[str, Any]:
    """Book twice in a gym with approval. An admin approves one session and rejects the other."""
    sessions, gym_id = mesh.stub(SessionServiceStub), await _create_gym(mesh, requires_approval=True)
    owner = await _create_member(mesh, "owner")
    first, second = await _book(mesh, owner, gym_id), await _book(mesh, owner, gym_id, HOUR, BY_CARD)
    await mesh.settle()
    approving = session_pb2.ApproveSessionRequest(session_id=first.session_id)
    await mesh.call(sessions.ApproveSession, approving)
    rejecting = session_pb2.RejectSessionRequest(session_id=second.session_id, reason="closed for repairs")
    await mesh.call(sessions.RejectSession, rejecting)
    return await _facts(mesh, owner, [first, second])


async def move_and_offer(mesh: OutageMesh) -> dict[str, Any]:
    """Book and move a session. Another member waits for the old slot, gets an offer and claims it."""
    gym_id = await _create_gym(mesh, waiting_list_mode=WAITING_LIST_MODE_OFFER_ONE)
    sessions = mesh.stub(SessionServiceStub)
    owner, waiting = await _create_member(mesh, "owner"), await _create_member(mesh, "waiting")
    booked = await _book(mesh, owner, gym_id)
    joining = session_pb2.JoinWaitingListRequest(user_id=waiting, gym_id=gym_id, period=booked.period)
    await mesh.call(sessions.JoinWaitingList, joining)
    await mesh.settle()
    moving = session_pb2.RescheduleSessionRequest(
        session_id=booked.session_id, period=_hour(IN_A_WEEK + 2 * HOUR), etag=booked.etag
    )
    await mesh.call(sessions.RescheduleSession, moving)
    mail = await mesh.mail_to(await _address_of(mesh, waiting), "Held for you")
    (offer_id,) = OFFER.findall(mail.body)
    claiming = session_pb2.ClaimOfferRequest(offer_id=offer_id, payment_method=BY_CARD)
    claimed = (await mesh.call(sessions.ClaimOffer, claiming)).session
    return await _facts(mesh, owner, [booked, claimed])


async def subscription(mesh: OutageMesh) -> dict[str, Any]:
    """Subscribe, renew, fail to pay, pay with another card, cancel and resume."""
    member, subscriptions = await _create_member(mesh, "owner", credits_granted=0), mesh.stub(SubscriptionServiceStub)
    creating = subscription_pb2.CreateSubscriptionRequest(user_id=member, plan_id=FOUR_HOURS, payment_method=GOOD_CARD)
    created = (await mesh.call(subscriptions.CreateSubscription, creating)).subscription
    subscription_id, end = created.subscription_id, created.current_period.end_time.ToDatetime(UTC)
    await _advance(mesh, end - 7 * DAY, end - 3 * DAY, end)
    for card in (FAILING_CARD, GOOD_CARD):
        replacing = subscription_pb2.UpdatePaymentMethodRequest(subscription_id=subscription_id, payment_method=card)
        await mesh.call(subscriptions.UpdatePaymentMethod, replacing)
        if card is FAILING_CARD:
            await _advance(mesh, *(await _next_charge(mesh, subscription_id)))
    cancelling = subscription_pb2.CancelSubscriptionRequest(subscription_id=subscription_id, at_period_end=True)
    await mesh.call(subscriptions.CancelSubscription, cancelling)
    await mesh.settle()
    resuming = subscription_pb2.ResumeSubscriptionRequest(subscription_id=subscription_id)
    resumed = (await mesh.call(subscriptions.ResumeSubscription, resuming)).subscription
    await mesh.settle()
    grants = await mesh.fetch("payment", "select from transactions where kind = 'grant'")
    return {
        "status": subscription_pb2.SubscriptionStatus.Name(resumed.status),
        "is cancelled": resumed.cancel_at_period_end,
        "grants": len(grants),
        "mails": dict(await mesh.mails()),
    }


async def sign_up(mesh: OutageMesh) -> dict[str, Any]:
    """Sign up, confirm the address, log in, refresh, and reset the password."""
    auth, email = mesh.stub(AuthServiceStub), _address("owner")
    signing_up = auth_pb2.SignUpRequest(email=email, password=PASSWORD, display_name="Ada Byron")
    user_id = (await mesh.call(auth.SignUp, signing_up)).user_id
    await mesh.call(auth.ConfirmEmail, auth_pb2.ConfirmEmailRequest(code=await _code(mesh, email, "Please confirm")))
    logging_in = auth_pb2.LogInRequest(email=email, password=PASSWORD)
    tokens = (await mesh.call(auth.LogIn, logging_in)).tokens
    refreshing = auth_pb2.RefreshTokensRequest(refresh_token=tokens.refresh_token)
    refreshed = (await mesh.call(auth.RefreshTokens, refreshing)).tokens
    await mesh.call(auth.RequestPasswordReset, auth_pb2.RequestPasswordResetRequest(email=email))
    code = await _code(mesh, email, "Set a new password")
    await mesh.call(
        auth.ConfirmPasswordReset, auth_pb2.ConfirmPasswordResetRequest(code=code, new_password=NEW_PASSWORD)
    )
    await mesh.call(auth.LogIn, auth_pb2.LogInRequest(email=email, password=NEW_PASSWORD))
    users = await mesh.fetch("user", "select email_confirmed from users where user_id = $1", UUID(user_id))
    passwords = await mesh.fetch("auth", "select from passwords where user_id = $1", UUID(user_id))
    return {
        "is confirmed": [row["email_confirmed"] for row in users],
        "passwords": len(passwords),
        "has new tokens": refreshed.refresh_token != tokens.refresh_token,
        "mails": dict(await mesh.mails()),
    }


async def _facts(mesh: OutageMesh, owner: str, sessions: Sequence[session_pb2.Session]) -> dict[str, Any]:
    """Return the statuses of sessions and their payments, the owner's balance, and the mails."""
    mails = await mesh.mails()
    ids = [UUID(session.session_id) for session in sessions]
    ((balance,),) = await mesh.fetch("payment", _BALANCE, UUID(owner))
    captured = await mesh.fetch("payment", "select from payments where status = 'captured'")
    return {
        "sessions": [row["status"] for id_ in ids for row in await mesh.fetch("session", _SESSION, id_)],
        "payments": [row["status"] for id_ in ids for row in await mesh.fetch("payment", _PAYMENT, id_)],
        "captured": len(captured),
        "balance": balance,
        "mails": dict(mails),
    }


async def _create_gym(mesh: OutageMesh, **fields: Any) -> str:
    request = CreateGymRequest(
        name=f"Gym {uuid4().hex}",
        time_zone="Europe/London",
        price_per_hour=Money(currency_code="GBP", minor_units=1250),
        credits_per_hour=CREDITS_PER_HOUR,
        **fields,
    )
    gym_id = (await mesh.call(mesh.stub(GymServiceStub).CreateGym, request)).gym.gym_id
    await mesh.settle()
    return gym_id


async def _create_member(mesh: OutageMesh, name: str, *, credits_granted: int = GRANTED) -> str:
    request = CreateUserRequest(email=_address(name), display_name="Ada Byron")
    user_id = (await mesh.call(mesh.stub(UserServiceStub).CreateUser, request)).user.user_id
    if credits_granted:
        grant = GrantCreditsRequest(user_id=user_id, credits=credits_granted, reason="goodwill")
        await mesh.call(mesh.stub(PaymentServiceStub).GrantCredits, grant)
    return user_id


async def _book(
    mesh: OutageMesh, user_id: str, gym_id: str, later: timedelta = timedelta(), by: PaymentMethod = BY_CREDITS
) -> session_pb2.Session:
    request = session_pb2.BookSessionRequest(
        user_id=user_id, gym_id=gym_id, period=_hour(IN_A_WEEK + later), payment_method=by
    )
    return (await mesh.call(mesh.stub(SessionServiceStub).BookSession, request)).session


async def _advance(mesh: OutageMesh, *times: datetime) -> None:
    """Move the clock to each time in turn, and wait until everything due is done."""
    for time in times:
        await mesh.settle()
        now = mesh.services.clock.now()
        mesh.services.clock.advance(max(time - now, timedelta()))
    await mesh.settle()


async def _next_charge(mesh: OutageMesh, subscription_id: str) -> list[datetime]:
    """Return the times of the next reminders and of the charge, in order."""
    rows = await mesh.fetch(
        "subscription",
        "select deliver_time from outbox where status = 'pending' and cancel_key in ($1, $2) order by 1",
        f"reminder/{subscription_id}",
        f"charge/{subscription_id}",
    )
    return [row["deliver_time"] for row in rows]


async def _address_of(mesh: OutageMesh, user_id: str) -> str:
    ((email,),) = await mesh.fetch("user", "select email from users where user_id = $1", UUID(user_id))
    return str(email)


async def _code(mesh: OutageMesh, email: str, subject: str) -> str:
    (code,) = CODE.findall((await mesh.mail_to(email, subject)).body)
    return str(code)


def _address(name: str) -> str:
    return f"{name}@{uuid4().hex}.example"


def _hour(start: datetime) -> Period:
    period = Period()
    period.start_time.FromDatetime(start)
    period.end_time.FromDatetime(start + HOUR)
    return period
