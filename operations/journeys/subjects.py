"""Subjects of journeys: a session with its payments, or a subscription, as their services return them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contracts.errors import ServiceError, SessionNotFound, SubscriptionNotFound
from contracts.redaction import redacted
from mesh.failure import Failure
from operations.texts import failure_text
from solo60.payment.v1.payment_pb2 import ListSessionPaymentsRequest
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1 import session_pb2
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1 import subscription_pb2
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub

if TYPE_CHECKING:
    from mesh.serving.channel import Channels

SESSION, SUBSCRIPTION = "session", "subscription"
# Pending work of a subject, by its status.
WAITS = {
    "SESSION_STATUS_PENDING_PAYMENT": "Waits for the charge. The slot is released if it does not arrive in time.",
    "SESSION_STATUS_PENDING_APPROVAL": "Waits for an admin: session.ApproveSession or session.RejectSession.",
    "SUBSCRIPTION_STATUS_PAST_DUE": "Waits for a charge that succeeds. Another attempt follows.",
}


class JourneyNotFound(Failure):
    """No session and no subscription has the id."""


@dataclass(frozen=True, slots=True)
class Subject:
    """State of a session or subscription. `kind` is the name of its service.

    `facts` and `payments` have the names of the contract, with personal data masked. `failures` has a sentence for each
    part that cannot be read.
    """

    kind: str
    subject_id: str
    status: str
    facts: dict[str, Any]
    payments: list[dict[str, Any]]
    failures: tuple[str, ...] = ()

    @property
    def waits_for(self) -> str:
        """Sentence about the pending work of the subject, or ""."""
        return WAITS.get(self.status, "")


async def read_subject(channels: Channels, subject_id: str) -> Subject:
    """Return the session or the subscription with this id.

    Raises JourneyNotFound if neither exists, and ServiceError if the services cannot answer.
    """
    try:
        return await _session(channels, subject_id)
    except SessionNotFound:
        pass
    try:
        return await _subscription(channels, subject_id)
    except SubscriptionNotFound:
        raise JourneyNotFound(f"There is no session and no subscription with the id {subject_id}.") from None


async def _session(channels: Channels, session_id: str) -> Subject:
    request = session_pb2.GetSessionRequest(session_id=session_id)
    session = (await channels.stub(SessionServiceStub).GetSession(request)).session
    status = session_pb2.SessionStatus.Name(session.status)
    payments, failures = await _payments(channels, session_id)
    return Subject(SESSION, session_id, status, redacted(session), payments, failures)


async def _payments(channels: Channels, session_id: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    try:
        answer = await channels.stub(PaymentServiceStub).ListSessionPayments(
            ListSessionPaymentsRequest(session_id=session_id)
        )
    except ServiceError as error:
        return [], (f"The payments cannot be read: {failure_text(error)}",)
    return [redacted(payment) for payment in answer.payments], ()


async def _subscription(channels: Channels, subscription_id: str) -> Subject:
    request = subscription_pb2.GetSubscriptionRequest(subscription_id=subscription_id)
    subscription = (await channels.stub(SubscriptionServiceStub).GetSubscription(request)).subscription
    status = subscription_pb2.SubscriptionStatus.Name(subscription.status)
    return Subject(SUBSCRIPTION, subscription_id, status, redacted(subscription), [])
