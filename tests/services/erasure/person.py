"""A person who leaves personal data in every service, and the other people around."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from contracts.errors import CredentialsInvalid, InvalidRequest
from mesh.data.idempotency import fingerprint_of
from services.auth import app as auth
from services.auth.attempts.domain import Subjects
from services.auth.wire import request_of_reset
from services.communication import app as communication
from services.gym import app as gym
from services.payment import app as payment
from services.session import app as session
from services.subscription import app as subscription
from services.user import app as user
from solo60.auth.v1.auth_pb2 import LogInRequest, RequestPasswordResetRequest, SignUpRequest
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest
from solo60.payment.v1.payment_pb2 import CreditBackSessionRequest, GrantCreditsRequest, RefundSessionRequest
from solo60.session.v1.session_pb2 import (
    CancelSessionRequest,
    InviteGuestRequest,
    JoinWaitingListRequest,
    RejectSessionRequest,
)
from solo60.subscription.v1.subscription_pb2 import WEBHOOK_EVENT_UNATTRIBUTED
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest, UpdateUserRequest, User
from tests.services.session.booking_mesh import BY_CARD, TOMORROW, BookingMesh, book_request, period
from tests.services.subscription.subscription_mesh import (
    FOUR_HOURS,
    SubscriptionMesh,
    event,
    processor_webhook,
    webhook,
)

if TYPE_CHECKING:
    from solo60.session.v1.session_pb2 import Session
    from tests.support.serving import MeshForTests

_APPS = (auth, user, gym, payment, communication, session, subscription)
SERVICES = {each.SERVICE.name: each.SERVICE for each in _APPS}
DAY = timedelta(days=1)
EMAIL, NAME, EARLIER_NAME = "Ada.Zwicky@lovelace.example", "Ada Zwicky-Lovelace", "Augusta Qvist"
GUEST_EMAIL, GUEST_NAME = "babbage.qx@guests.example", "Karl Wubbage"
CANCEL_REASON, REJECT_REASON = "my knee was operated on", "knows the vandal Wexford"
GRANT_REASON, REFUND_REASON, CREDIT_REASON = "for the lady with the parrot", "parrot bit the neighbour", "parrot at gym"
WEBHOOK_NAME = "A. Z. Lovelace-Cardholder"
# The address in other forms in which people type it.
AS_GUEST = EMAIL.upper().replace("LOVELACE.EXAMPLE", "lovelace.example")


@dataclass(slots=True)
class Person:
    """The person, with every personal text and the hash of every request that contained one."""

    user_id: str = ""
    session_ids: list[str] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)

    @property
    def texts(self) -> list[str | bytes]:
        """The texts that no database may contain after the erasure."""
        reasons = (CANCEL_REASON, REJECT_REASON, GRANT_REASON, REFUND_REASON, CREDIT_REASON)
        return [EMAIL, NAME, EARLIER_NAME, GUEST_EMAIL, GUEST_NAME, WEBHOOK_NAME, *reasons, *self.hashes]


class Life:
    """The journeys of the person, in the services of `mesh`. Mail is never delivered, so every text of it is stored."""

    def __init__(self, mesh: MeshForTests, booking: BookingMesh, subscriptions: SubscriptionMesh) -> None:
        self._mesh = mesh
        self._booking = booking
        self._subscriptions = subscriptions
        self.person = Person()

    async def live(self, host_id: str) -> Person:
        """Let the person leave data everywhere. `host_id` is another member, who invites the person."""
        await self._sign_up()
        await self._book(host_id)
        await self._subscribe()
        return self.person

    async def _sign_up(self) -> None:
        accounts = self._mesh.stub(AuthServiceStub)
        sign_up = SignUpRequest(email=EMAIL, display_name=EARLIER_NAME, password="a parrot named Ludwig")  # noqa: S106
        self.person.user_id = (await accounts.SignUp(sign_up)).user_id
        with pytest.raises(CredentialsInvalid):
            await accounts.LogIn(LogInRequest(email=AS_GUEST, password="parrot", source_ip="203.0.113.7"))  # noqa: S106
        await accounts.RequestPasswordReset(RequestPasswordResetRequest(email=AS_GUEST))
        rename = UpdateUserRequest(user=User(user_id=self.person.user_id, display_name=NAME))
        rename.update_mask.FromJsonString("displayName")
        await self._booking.users.UpdateUser(rename)
        grant = GrantCreditsRequest(user_id=self.person.user_id, credits=100, reason=GRANT_REASON)
        await self._booking.payments.GrantCredits(grant)
        self.person.hashes += [
            fingerprint_of(CreateUserRequest(email=EMAIL, display_name=EARLIER_NAME)),
            fingerprint_of(SignUpRequest(email=EMAIL, display_name=EARLIER_NAME)),
            fingerprint_of(grant),
            fingerprint_of(request_of_reset(EMAIL)),
            Subjects.of(EMAIL, "").address,
        ]

    async def _book(self, host_id: str) -> None:
        gym_id, strict_gym_id = await self._booking.create_gym(), await self._booking.create_gym(requires_approval=True)
        upcoming = await self._reserve(gym_id, days=1)
        invite = InviteGuestRequest(session_id=upcoming.session_id, email=GUEST_EMAIL, name=GUEST_NAME)
        await self._booking.sessions.InviteGuest(invite)
        self.person.hashes.append(fingerprint_of(invite))
        cancelled = await self._reserve(gym_id, days=2)
        await self._booking.sessions.InviteGuest(
            InviteGuestRequest(session_id=cancelled.session_id, email=GUEST_EMAIL, name=GUEST_NAME)
        )
        await self._booking.sessions.CancelSession(
            CancelSessionRequest(session_id=cancelled.session_id, reason=CANCEL_REASON)
        )
        rejected = await self._reserve(strict_gym_id, days=3)
        await self._booking.sessions.RejectSession(
            RejectSessionRequest(session_id=rejected.session_id, reason=REJECT_REASON)
        )
        await self._reserve(strict_gym_id, days=4)  # an approval that is never decided
        await self._refund_by_hand(gym_id)
        await self._be_a_guest_of(host_id, gym_id)

    async def _refund_by_hand(self, gym_id: str) -> None:
        refunded, credited = await self._reserve(gym_id, days=5), await self._reserve(gym_id, days=6)
        await self._booking.payments.RefundSession(
            RefundSessionRequest(session_id=refunded.session_id, reason=REFUND_REASON)
        )
        await self._booking.payments.CreditBackSession(
            CreditBackSessionRequest(session_id=credited.session_id, reason=CREDIT_REASON)
        )

    async def _be_a_guest_of(self, host_id: str, gym_id: str) -> None:
        hosted = await self._booking.book(book_request(host_id, gym_id, start=TOMORROW + 7 * DAY))
        invite = InviteGuestRequest(session_id=hosted.session_id, email=AS_GUEST, name=NAME)
        await self._booking.sessions.InviteGuest(invite)
        wait = JoinWaitingListRequest(user_id=self.person.user_id, gym_id=gym_id, period=period(TOMORROW + 7 * DAY))
        await self._booking.sessions.JoinWaitingList(wait)
        self.person.hashes.append(fingerprint_of(invite))

    async def _reserve(self, gym_id: str, *, days: int) -> Session:
        start = TOMORROW + (days - 1) * DAY
        booked = await self._booking.book(book_request(self.person.user_id, gym_id, start=start, by=BY_CARD))
        self.person.session_ids.append(booked.session_id)
        return booked

    async def _subscribe(self) -> None:
        subscribed = await self._subscriptions.subscribe(FOUR_HOURS, self.person.user_id)
        customer = {"customer_email": EMAIL.replace("@", "\\u0040"), "customer_name": WEBHOOK_NAME}
        unattributed = {
            "id": "evt_of_a_stranger",
            "type": "customer.subscription.trial_will_end",
            "created": 1,
            "data": {"object": {"object": "subscription", "id": "sub_unknown", "metadata": {}, **customer}},
        }
        escaped = orjson.dumps(unattributed).replace(b"\\\\u0040", b"\\u0040")
        unreadable = event("renewed", subscribed, customer_name=WEBHOOK_NAME)
        stub = self._mesh.stub(SubscriptionServiceStub)
        assert (await stub.ProcessWebhook(processor_webhook(escaped))).event == WEBHOOK_EVENT_UNATTRIBUTED
        with pytest.raises(InvalidRequest):  # the webhook is held
            await stub.ProcessWebhook(webhook(unreadable))


def dead_letter(person: Person) -> bytes:
    """Return the payload of a mail to the person that an outbox could not deliver."""
    recipient = Recipient(email=EMAIL, display_name=NAME, user_id=person.user_id)
    return SendEmailAsyncRequest(recipient=recipient, template_key="SESSION_BOOKED").SerializeToString()
