"""The errors of the contracts as Python exceptions: raised by a servicer, caught under the same class by its caller.

    ServiceError
    ├── one class for each solo60.common.v1.ErrorReason: SlotTaken, UserNotFound, Unavailable, ...
    └── UnknownError: a status that names no reason this build knows

A class's docstring is the sentence that callers get unless the raiser writes a better one.
"""

from __future__ import annotations

from contracts.service_error import ServiceError as ServiceError
from contracts.service_error import UnknownError as UnknownError
from contracts.service_error import Violation as Violation
from solo60.common.v1.errors_pb2 import ErrorReason


class Unauthenticated(ServiceError, reason=ErrorReason.ERROR_REASON_UNAUTHENTICATED):
    """The call carries no valid service API key."""


class ScopeMissing(ServiceError, reason=ErrorReason.ERROR_REASON_SCOPE_MISSING):
    """The caller's API key lacks a scope that the method asks for."""


class InvalidRequest(ServiceError, reason=ErrorReason.ERROR_REASON_INVALID_REQUEST):
    """The request breaks a rule of the contract; google.rpc.BadRequest names each field."""


class DeadlineExceeded(ServiceError, reason=ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED):
    """The time allowed for the call has passed, or too little of it was left to begin."""


class Unavailable(ServiceError, reason=ErrorReason.ERROR_REASON_UNAVAILABLE):
    """The service, or something it cannot work without, is not reachable now. Try again later."""


class Internal(ServiceError, reason=ErrorReason.ERROR_REASON_INTERNAL):
    """A fault of the service. The correlation id leads to it in the service's log."""


class Unimplemented(ServiceError, reason=ErrorReason.ERROR_REASON_UNIMPLEMENTED):
    """The contract has the method, but no service answers it yet."""


class RateLimited(ServiceError, reason=ErrorReason.ERROR_REASON_RATE_LIMITED):
    """The caller used up its rate; google.rpc.RetryInfo says when to come back."""


class Overloaded(ServiceError, reason=ErrorReason.ERROR_REASON_OVERLOADED):
    """The service has more work than it can finish in time; google.rpc.RetryInfo says when to come back."""


class CircuitOpen(ServiceError, reason=ErrorReason.ERROR_REASON_CIRCUIT_OPEN):
    """The caller's own circuit breaker is open: nothing was sent."""


class MessageTooLarge(ServiceError, reason=ErrorReason.ERROR_REASON_MESSAGE_TOO_LARGE):
    """The request, its metadata or the answer is larger than the receiver accepts."""


class IdempotencyKeyMissing(ServiceError, reason=ErrorReason.ERROR_REASON_IDEMPOTENCY_KEY_MISSING):
    """The method asks for an idempotency key, and the call has none or a malformed one."""


class IdempotencyKeyReused(ServiceError, reason=ErrorReason.ERROR_REASON_IDEMPOTENCY_KEY_REUSED):
    """The idempotency key was used before with another request."""


class RequestInProgress(ServiceError, reason=ErrorReason.ERROR_REASON_REQUEST_IN_PROGRESS):
    """A call with the same idempotency key is being worked on."""


class Cancelled(ServiceError, reason=ErrorReason.ERROR_REASON_CANCELLED):
    """The caller gave up before the answer."""


class UserNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_USER_NOT_FOUND):
    """There is no user with this id or email address."""


class EmailTaken(ServiceError, reason=ErrorReason.ERROR_REASON_EMAIL_TAKEN):
    """Another user has this email address."""


class UserNotActive(ServiceError, reason=ErrorReason.ERROR_REASON_USER_NOT_ACTIVE):
    """The user exists but may not act: suspended or deleted."""


class GymNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_GYM_NOT_FOUND):
    """There is no gym with this id."""


class GymNameTaken(ServiceError, reason=ErrorReason.ERROR_REASON_GYM_NAME_TAKEN):
    """Another gym has this name."""


class GymClosed(ServiceError, reason=ErrorReason.ERROR_REASON_GYM_CLOSED):
    """The gym takes no bookings, at all or for this period."""


class SessionNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_SESSION_NOT_FOUND):
    """There is no session with this id."""


class SlotTaken(ServiceError, reason=ErrorReason.ERROR_REASON_SLOT_TAKEN):
    """The period overlaps one that another member has booked."""


class PeriodPast(ServiceError, reason=ErrorReason.ERROR_REASON_PERIOD_PAST):
    """The period begins in the past."""


class SessionNotCancellable(ServiceError, reason=ErrorReason.ERROR_REASON_SESSION_NOT_CANCELLABLE):
    """The session has begun, or is in a state from which it cannot be cancelled."""


class SessionNotPendingApproval(ServiceError, reason=ErrorReason.ERROR_REASON_SESSION_NOT_PENDING_APPROVAL):
    """The session is not waiting for an approval."""


class GuestAlreadyInvited(ServiceError, reason=ErrorReason.ERROR_REASON_GUEST_ALREADY_INVITED):
    """The guest is invited to this session already."""


class InvitationNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_INVITATION_NOT_FOUND):
    """There is no such invitation."""


class AlreadyWaiting(ServiceError, reason=ErrorReason.ERROR_REASON_ALREADY_WAITING):
    """The member is on the waiting list for this period already."""


class WaitingListEntryNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_WAITING_LIST_ENTRY_NOT_FOUND):
    """There is no such entry on a waiting list."""


class SlotFree(ServiceError, reason=ErrorReason.ERROR_REASON_SLOT_FREE):
    """The period is free: book it instead of waiting for it."""


class SessionTakesNoGuests(ServiceError, reason=ErrorReason.ERROR_REASON_SESSION_TAKES_NO_GUESTS):
    """Nobody can be invited to the session: it is not paid, is called off, or is over."""


class PaymentNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_PAYMENT_NOT_FOUND):
    """There is no payment with this id, or none for this session."""


class CardDeclined(ServiceError, reason=ErrorReason.ERROR_REASON_CARD_DECLINED):
    """The card's issuer refused the charge."""


class InsufficientCredits(ServiceError, reason=ErrorReason.ERROR_REASON_INSUFFICIENT_CREDITS):
    """The member has fewer credits than the price."""


class AlreadyCharged(ServiceError, reason=ErrorReason.ERROR_REASON_ALREADY_CHARGED):
    """The session was charged before, with another amount or another means of payment."""


class PaymentVoided(ServiceError, reason=ErrorReason.ERROR_REASON_PAYMENT_VOIDED):
    """The payment was refunded or voided before it could be charged: it never will be."""


class SubscriptionNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_SUBSCRIPTION_NOT_FOUND):
    """There is no subscription with this id, or none for this user."""


class PlanNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_PLAN_NOT_FOUND):
    """There is no plan with this id."""


class AlreadySubscribed(ServiceError, reason=ErrorReason.ERROR_REASON_ALREADY_SUBSCRIBED):
    """The user has a subscription that has not ended."""


class SubscriptionNotActive(ServiceError, reason=ErrorReason.ERROR_REASON_SUBSCRIPTION_NOT_ACTIVE):
    """The subscription has ended or is cancelled already."""


class WebhookSignatureInvalid(ServiceError, reason=ErrorReason.ERROR_REASON_WEBHOOK_SIGNATURE_INVALID):
    """The webhook's signature does not match, or its timestamp is too far from now."""


class WebhookNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_WEBHOOK_NOT_FOUND):
    """No webhook with this scheme and id is stored."""


class TrialUsed(ServiceError, reason=ErrorReason.ERROR_REASON_TRIAL_USED):
    """The user has had a trial before: each user has one."""


class SubscriptionNotCancelled(ServiceError, reason=ErrorReason.ERROR_REASON_SUBSCRIPTION_NOT_CANCELLED):
    """No cancellation of the subscription is planned that could be taken back."""


class MessageNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_MESSAGE_NOT_FOUND):
    """There is no message with this id."""


class TemplateNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_TEMPLATE_NOT_FOUND):
    """There is no template with this name."""


class TemplateVariableMissing(ServiceError, reason=ErrorReason.ERROR_REASON_TEMPLATE_VARIABLE_MISSING):
    """The template asks for a variable that the request does not give."""


class MessageNotRetryable(ServiceError, reason=ErrorReason.ERROR_REASON_MESSAGE_NOT_RETRYABLE):
    """The message has not failed, so there is nothing to retry."""


class MessageRefused(ServiceError, reason=ErrorReason.ERROR_REASON_MESSAGE_REFUSED):
    """The mail server refused the message for good."""


class CredentialsInvalid(ServiceError, reason=ErrorReason.ERROR_REASON_CREDENTIALS_INVALID):
    """Email address and password do not belong together."""


class TokenInvalid(ServiceError, reason=ErrorReason.ERROR_REASON_TOKEN_INVALID):
    """The token is malformed, expired, revoked or not ours."""


class EmailNotConfirmed(ServiceError, reason=ErrorReason.ERROR_REASON_EMAIL_NOT_CONFIRMED):
    """The user has not confirmed the email address."""


class CodeInvalid(ServiceError, reason=ErrorReason.ERROR_REASON_CODE_INVALID):
    """The confirmation or reset code is wrong, used or expired."""


class PasswordTooCommon(ServiceError, reason=ErrorReason.ERROR_REASON_PASSWORD_TOO_COMMON):
    """The password is among those that are guessed first."""


class OutboxMessageNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_OUTBOX_MESSAGE_NOT_FOUND):
    """There is no message with this id in this service's outbox, or not any more."""


class OutboxMessageSettled(ServiceError, reason=ErrorReason.ERROR_REASON_OUTBOX_MESSAGE_SETTLED):
    """The message is delivered, or being delivered: nothing of it can be changed."""


class OutboxMessagePending(ServiceError, reason=ErrorReason.ERROR_REASON_OUTBOX_MESSAGE_PENDING):
    """The message is still to be delivered, or given up: retry it instead."""
