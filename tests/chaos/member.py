"""Well-behaved member who joins, books, changes the booking and leaves while the mesh breaks."""

from __future__ import annotations

import asyncio
import random
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.auth.v1.auth_pb2 import ConfirmEmailRequest, LogInRequest, RefreshTokensRequest, SignUpRequest
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.common.v1.period_pb2 import Period
from solo60.payment.v1.payment_pb2 import CardMethod, CreditsMethod, GrantCreditsRequest, PaymentMethod
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1 import session_pb2
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1 import subscription_pb2
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest, EraseUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.chaos.caller import RejectedError, UnknownOutcomeError, repeat
from tests.chaos.journeys import Answer, Change, Outcome, Step, Subscription

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Sequence

    from mesh.serving.channel import Channels
    from tests.chaos.inbox import Inbox
    from tests.chaos.journeys import Journey

T = TypeVar("T")

CREDITS_PER_HOUR = 3
# Enough for a second charge, so that a double charge would succeed and be noticed.
CREDITS_GRANTED = 3 * CREDITS_PER_HOUR
# £39.00 a month for 40 credits, without a trial.
FOUR_HOURS = "01980000-0000-7000-8000-000000000004"
CREDITS_OF_PLAN = 40
PASSWORD = "correct horse battery staple"  # noqa: S105 - of a test
CODE = re.compile(r"\b(?:[0-9a-z]{5}-){4}[0-9a-z]{5}\b")
OFFER = re.compile(r"Offer: +(\S+)")
# Then the member goes on without confirming the address. The mail must still arrive in the end.
MAIL_TIMEOUT_S = 120.0
OFFER_TIMEOUT_S = 20.0
SLOT_REFUSALS = ("SLOT_TAKEN", "SLOT_OFFERED")
FIRST_HOUR = (datetime.now(UTC) + timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)
# No member books these hours, so that each move finds its slot free.
HOURS_OF_A_MOVE = 1000
# The contract requires no idempotency key for these steps.
KEYLESS = {Step.LOG_IN, Step.REFRESH, Step.CANCEL, Step.LEAVE}

_METHODS = {
    "credits": PaymentMethod(credits=CreditsMethod()),
    "no credits": PaymentMethod(credits=CreditsMethod()),
    "card": PaymentMethod(card=CardMethod(card_token="tok_visa")),  # noqa: S106 - a test card
    "declined card": PaymentMethod(card=CardMethod(card_token="tok_declined")),  # noqa: S106 - a test card
}


class Member:
    """One member with a plan. `gym_ids` are those of all gyms, and `answers` counts the answers of the mesh."""

    def __init__(
        self,
        journey: Journey,
        channels: Channels,
        inbox: Inbox,
        gym_ids: Sequence[str],
        answers: Counter[str],
        seed: int,
    ) -> None:
        self._journey = journey
        self._channels = channels
        self._inbox = inbox
        self._gym_id = gym_ids[journey.gym]
        self._answers = answers
        self._seed = seed
        self._rng = random.Random(f"{seed}/{journey.number}")  # noqa: S311 - only for pauses
        self._outcome = Outcome(journey)

    async def run(self) -> Outcome:
        """Make the journey and return its outcome."""
        if await self._join():
            await self._grant()
            subscription_id = await self._subscribe()
            session = await self._book()
            if session is not None:
                self._outcome.session_id = UUID(session.session_id)
                await self._change(session)
            if subscription_id:
                await self._end_subscription(subscription_id)
            if self._journey.leaves:
                request = EraseUserRequest(user_id=self._user_id)
                await self._ask(Step.LEAVE, self._channels.stub(UserServiceStub).EraseUser, request)
        return self._outcome

    @property
    def _user_id(self) -> str:
        return str(self._outcome.user_id)

    async def _join(self) -> bool:
        """Create the member and return True, or False if the outcome is unknown."""
        email, name = self._journey.email, f"Member {self._journey.number}"
        if self._journey.signs_up:
            auth = self._channels.stub(AuthServiceStub)
            signing_up = SignUpRequest(email=email, password=PASSWORD, display_name=name)
            signed_up = await self._ask(Step.JOIN, auth.SignUp, signing_up)
            if signed_up is not None:
                self._outcome.user_id = UUID(signed_up.user_id)
                await self._log_in()
            return signed_up is not None
        users = self._channels.stub(UserServiceStub)
        created = await self._ask(Step.JOIN, users.CreateUser, CreateUserRequest(email=email, display_name=name))
        if created is not None:
            self._outcome.user_id = UUID(created.user.user_id)
        return created is not None

    async def _log_in(self) -> None:
        """Confirm the address with the code of the mail, log in and refresh the tokens."""
        auth = self._channels.stub(AuthServiceStub)
        mail = await self._inbox.wait_for(self._journey.email, "Please confirm", MAIL_TIMEOUT_S)
        if mail is None:
            return
        (code,) = CODE.findall(mail.body)
        if not await self._ask(Step.CONFIRM_EMAIL, auth.ConfirmEmail, ConfirmEmailRequest(code=code)):
            return
        request = LogInRequest(email=self._journey.email, password=PASSWORD)
        logged_in = await self._ask(Step.LOG_IN, auth.LogIn, request)
        if logged_in is not None:
            refreshing = RefreshTokensRequest(refresh_token=logged_in.tokens.refresh_token)
            await self._ask(Step.REFRESH, auth.RefreshTokens, refreshing)

    async def _grant(self) -> None:
        if self._journey.payment_method != "no credits":
            request = GrantCreditsRequest(user_id=self._user_id, credits=CREDITS_GRANTED, reason="chaos")
            await self._ask(Step.GRANT, self._channels.stub(PaymentServiceStub).GrantCredits, request)

    async def _subscribe(self) -> str:
        """Subscribe if the plan says so, and return the id of the subscription, or ""."""
        if self._journey.subscription is Subscription.NONE:
            return ""
        card = "tok_declined" if self._journey.subscription is Subscription.DECLINED else "tok_visa"
        request = subscription_pb2.CreateSubscriptionRequest(
            user_id=self._user_id,
            plan_id=FOUR_HOURS,
            payment_method=subscription_pb2.PaymentMethod(card_token=card),
        )
        subscriptions = self._channels.stub(SubscriptionServiceStub)
        answer = await self._ask(Step.SUBSCRIBE, subscriptions.CreateSubscription, request)
        return answer.subscription.subscription_id if answer else ""

    async def _end_subscription(self, subscription_id: str) -> None:
        """Cancel the subscription if the plan says so, and resume it."""
        subscriptions = self._channels.stub(SubscriptionServiceStub)
        course = self._journey.subscription
        if course is Subscription.KEPT:
            return
        cancelling = subscription_pb2.CancelSubscriptionRequest(
            subscription_id=subscription_id, at_period_end=course is not Subscription.CANCELLED
        )
        cancelled = await self._ask(Step.CANCEL_SUBSCRIPTION, subscriptions.CancelSubscription, cancelling)
        if cancelled and course is Subscription.RESUMED:
            resuming = subscription_pb2.ResumeSubscriptionRequest(subscription_id=subscription_id)
            await self._ask(Step.RESUME, subscriptions.ResumeSubscription, resuming)

    async def _book(self) -> session_pb2.Session | None:
        """Book the wanted slot, or wait for it. Return the session, or None if there is none or it is unknown."""
        journey = self._journey
        sessions = self._channels.stub(SessionServiceStub)
        request = session_pb2.BookSessionRequest(
            user_id=self._user_id,
            gym_id=self._gym_id,
            period=_hour(journey.hour),
            payment_method=_METHODS[journey.payment_method],
        )
        booked = await self._ask(Step.BOOK, sessions.BookSession, request, timeout_s=journey.booking_timeout_s)
        if booked is not None:
            return booked.session
        if self._outcome.refusals.get(Step.BOOK) in SLOT_REFUSALS:
            return await self._wait()
        return None

    async def _wait(self) -> session_pb2.Session | None:
        """Join the waiting list of a slot that another member has, and claim the offer if one is expected."""
        sessions = self._channels.stub(SessionServiceStub)
        waiting = session_pb2.JoinWaitingListRequest(
            user_id=self._user_id, gym_id=self._gym_id, period=_hour(self._journey.hour)
        )
        if await self._ask(Step.WAIT, sessions.JoinWaitingList, waiting) is None or not self._journey.expects_offer:
            return None
        mail = await self._inbox.wait_for(self._journey.email, "Held for you", OFFER_TIMEOUT_S)
        if mail is None:
            return None
        (offer_id,) = OFFER.findall(mail.body)
        claim = session_pb2.ClaimOfferRequest(offer_id=offer_id, payment_method=_METHODS[self._journey.payment_method])
        claimed = await self._ask(Step.CLAIM, sessions.ClaimOffer, claim)
        return claimed.session if claimed else None

    async def _change(self, session: session_pb2.Session) -> None:
        """Invite a guest, and move or cancel the session."""
        journey, sessions = self._journey, self._channels.stub(SessionServiceStub)
        if journey.invites:
            invitation = session_pb2.InviteGuestRequest(
                session_id=session.session_id, email=journey.guest_email, name=f"Guest {journey.number}"
            )
            await self._ask(Step.INVITE, sessions.InviteGuest, invitation)
        if journey.change is Change.MOVE:
            move = session_pb2.RescheduleSessionRequest(
                session_id=session.session_id, period=_hour(HOURS_OF_A_MOVE + journey.number), etag=session.etag
            )
            await self._ask(Step.MOVE, sessions.RescheduleSession, move)
        elif journey.change is Change.CANCEL:
            cancelling = session_pb2.CancelSessionRequest(session_id=session.session_id, reason="chaos")
            await self._ask(Step.CANCEL, sessions.CancelSession, cancelling)

    async def _ask(
        self, step: Step, method: Callable[..., Awaitable[T]], request: Any, *, timeout_s: float | None = None
    ) -> T | None:
        """Make the call of a step until its outcome is known, and return the answer; None if there is none.

        With a timeout, the client makes one attempt.
        """
        options: dict[str, Any] = {} if timeout_s is None else {"timeout": timeout_s}
        if step not in KEYLESS:
            options["metadata"] = ((IDEMPOTENCY_KEY, f"{step}/{self._seed}/{self._journey.number}".replace(" ", "-")),)
        self._outcome.answers[step] = Answer.UNKNOWN
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            answer = await repeat(
                lambda: method(request, **options), self._rng, self._answers, once=timeout_s is not None
            )
        except RejectedError as error:
            self._outcome.answers[step], self._outcome.refusals[step] = Answer.REFUSED, str(error)
            return None
        except UnknownOutcomeError:
            return None
        finally:
            self._outcome.took_s[step] = loop.time() - began_s
        self._outcome.answers[step] = Answer.ACKNOWLEDGED
        return answer


def _hour(number: int) -> Period:
    period = Period()
    period.start_time.FromDatetime(FIRST_HOUR + number * HOUR)
    period.end_time.FromDatetime(FIRST_HOUR + (number + 1) * HOUR)
    return period
