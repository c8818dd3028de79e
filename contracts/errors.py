"""Errors of the contracts as Python exceptions. The servicer raises them; the caller catches the same classes.

    ServiceError
    ├── one class for each solo60.common.v1.ErrorReason: SlotTaken, UserNotFound, Unavailable, ...
    └── UnknownError: a status without a reason that this build knows

The docstring of a class is its default message.
"""

from __future__ import annotations

from contracts.service_error import ServiceError as ServiceError
from contracts.service_error import UnknownError as UnknownError
from contracts.service_error import Violation as Violation
from solo60.common.v1.errors_pb2 import ErrorReason


class Unauthenticated(ServiceError, reason=ErrorReason.ERROR_REASON_UNAUTHENTICATED):
    """The call carries no valid service API key."""


class ScopeMissing(ServiceError, reason=ErrorReason.ERROR_REASON_SCOPE_MISSING):
    """The caller's API key lacks a scope that the method requires."""


class InvalidRequest(ServiceError, reason=ErrorReason.ERROR_REASON_INVALID_REQUEST):
    """The request breaks a rule of the contract; google.rpc.BadRequest names each field."""


class DeadlineExceeded(ServiceError, reason=ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED):
    """The deadline of the call has passed, or too little time was left to start."""


class Unavailable(ServiceError, reason=ErrorReason.ERROR_REASON_UNAVAILABLE):
    """The service, or a dependency of it, is not reachable now. Try again later."""


class Internal(ServiceError, reason=ErrorReason.ERROR_REASON_INTERNAL):
    """The service failed unexpectedly. Search its log for the correlation id."""


class Unimplemented(ServiceError, reason=ErrorReason.ERROR_REASON_UNIMPLEMENTED):
    """The contract has the method, but no service implements it yet."""


class RateLimited(ServiceError, reason=ErrorReason.ERROR_REASON_RATE_LIMITED):
    """The caller exceeded its rate limit; google.rpc.RetryInfo says when to retry."""


class Overloaded(ServiceError, reason=ErrorReason.ERROR_REASON_OVERLOADED):
    """The service has more work than it can finish in time; google.rpc.RetryInfo says when to retry."""


class CircuitOpen(ServiceError, reason=ErrorReason.ERROR_REASON_CIRCUIT_OPEN):
    """The caller's own circuit breaker is open, so the call was not sent."""


class MessageTooLarge(ServiceError, reason=ErrorReason.ERROR_REASON_MESSAGE_TOO_LARGE):
    """The request, its metadata or the response is larger than the receiver accepts."""


class IdempotencyKeyMissing(ServiceError, reason=ErrorReason.ERROR_REASON_IDEMPOTENCY_KEY_MISSING):
    """The method requires an idempotency key, but the call has none or a malformed one."""


class IdempotencyKeyReused(ServiceError, reason=ErrorReason.ERROR_REASON_IDEMPOTENCY_KEY_REUSED):
    """The idempotency key was used before with another request."""


class RequestInProgress(ServiceError, reason=ErrorReason.ERROR_REASON_REQUEST_IN_PROGRESS):
    """Another call with the same idempotency key is in progress."""


class Cancelled(ServiceError, reason=ErrorReason.ERROR_REASON_CANCELLED):
    """The caller cancelled the call before the response."""


class EtagMismatch(ServiceError, reason=ErrorReason.ERROR_REASON_ETAG_MISMATCH):
    """The resource has changed since the caller read the etag of the request (AIP-154). Read it again."""


class UserNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_USER_NOT_FOUND):
    """There is no user with this id or email address."""


class EmailTaken(ServiceError, reason=ErrorReason.ERROR_REASON_EMAIL_TAKEN):
    """Another user has this email address."""


class UserNotActive(ServiceError, reason=ErrorReason.ERROR_REASON_USER_NOT_ACTIVE):
    """The user is suspended or deleted."""


class UserErased(ServiceError, reason=ErrorReason.ERROR_REASON_USER_ERASED):
    """The user is erased, and can never change again."""


class GymNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_GYM_NOT_FOUND):
    """There is no gym with this id."""


class GymNameTaken(ServiceError, reason=ErrorReason.ERROR_REASON_GYM_NAME_TAKEN):
    """Another gym has this name."""


class GymClosed(ServiceError, reason=ErrorReason.ERROR_REASON_GYM_CLOSED):
    """The gym takes no bookings for this period."""


class SessionNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_SESSION_NOT_FOUND):
    """There is no session with this id."""


class SlotTaken(ServiceError, reason=ErrorReason.ERROR_REASON_SLOT_TAKEN):
    """The period overlaps one that another member has booked."""


class PeriodPast(ServiceError, reason=ErrorReason.ERROR_REASON_PERIOD_PAST):
    """The period starts in the past."""


class SessionNotCancellable(ServiceError, reason=ErrorReason.ERROR_REASON_SESSION_NOT_CANCELLABLE):
    """The session has started, or its state does not allow cancellation."""


class SessionNotPendingApproval(ServiceError, reason=ErrorReason.ERROR_REASON_SESSION_NOT_PENDING_APPROVAL):
    """The session is not pending approval."""


class GuestAlreadyInvited(ServiceError, reason=ErrorReason.ERROR_REASON_GUEST_ALREADY_INVITED):
    """The guest is already invited to this session."""


class InvitationNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_INVITATION_NOT_FOUND):
    """There is no such invitation."""


class AlreadyWaiting(ServiceError, reason=ErrorReason.ERROR_REASON_ALREADY_WAITING):
    """The member is already on the waiting list for this period."""


class WaitingListEntryNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_WAITING_LIST_ENTRY_NOT_FOUND):
    """There is no such entry on a waiting list."""


class SlotFree(ServiceError, reason=ErrorReason.ERROR_REASON_SLOT_FREE):
    """The period is free: book it instead of waiting for it."""


class SessionTakesNoGuests(ServiceError, reason=ErrorReason.ERROR_REASON_SESSION_TAKES_NO_GUESTS):
    """The session takes no guests, because it is unpaid, cancelled or over."""


class PriceDiffers(ServiceError, reason=ErrorReason.ERROR_REASON_PRICE_DIFFERS):
    """The price of the new period differs from the price paid: cancel the session and book the new period."""


class SessionNotReschedulable(ServiceError, reason=ErrorReason.ERROR_REASON_SESSION_NOT_RESCHEDULABLE):
    """The session has started, or its state does not allow a move."""


class OfferNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_OFFER_NOT_FOUND):
    """There is no offer with this id."""


class OfferNotOpen(ServiceError, reason=ErrorReason.ERROR_REASON_OFFER_NOT_OPEN):
    """The offer is claimed, declined, expired or withdrawn."""


class SlotOffered(ServiceError, reason=ErrorReason.ERROR_REASON_SLOT_OFFERED):
    """The period overlaps one that is offered to a member on the waiting list."""


class PaymentNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_PAYMENT_NOT_FOUND):
    """There is no payment with this id, or none for this session."""


class CardDeclined(ServiceError, reason=ErrorReason.ERROR_REASON_CARD_DECLINED):
    """The card issuer declined the charge."""


class InsufficientCredits(ServiceError, reason=ErrorReason.ERROR_REASON_INSUFFICIENT_CREDITS):
    """The member has fewer credits than the price."""


class AlreadyCharged(ServiceError, reason=ErrorReason.ERROR_REASON_ALREADY_CHARGED):
    """The session was already charged, with another amount or another means of payment."""


class PaymentVoided(ServiceError, reason=ErrorReason.ERROR_REASON_PAYMENT_VOIDED):
    """The payment is refunded or voided, so the session cannot be charged."""


class RefundAbovePayment(ServiceError, reason=ErrorReason.ERROR_REASON_REFUND_ABOVE_PAYMENT):
    """The refund is above the rest of the payment, or in another currency or method."""


class PaymentNotCaptured(ServiceError, reason=ErrorReason.ERROR_REASON_PAYMENT_NOT_CAPTURED):
    """The payment is not captured, or is refunded as a whole, so no part of it can be refunded."""


class RefundRejected(ServiceError, reason=ErrorReason.ERROR_REASON_REFUND_REJECTED):
    """The card processor rejects the refund. Nothing was refunded."""


class RefundIdReused(ServiceError, reason=ErrorReason.ERROR_REASON_REFUND_ID_REUSED):
    """The refund id belongs to another refund."""


class PaymentDisputed(ServiceError, reason=ErrorReason.ERROR_REASON_PAYMENT_DISPUTED):
    """The member disputes the payment at the bank, so no part of it can be refunded."""


class SubscriptionNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_SUBSCRIPTION_NOT_FOUND):
    """There is no subscription with this id, or none for this user."""


class PlanNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_PLAN_NOT_FOUND):
    """There is no plan with this id."""


class AlreadySubscribed(ServiceError, reason=ErrorReason.ERROR_REASON_ALREADY_SUBSCRIBED):
    """The user has a subscription that has not ended."""


class SubscriptionNotActive(ServiceError, reason=ErrorReason.ERROR_REASON_SUBSCRIPTION_NOT_ACTIVE):
    """The subscription has ended or is already cancelled."""


class WebhookSignatureInvalid(ServiceError, reason=ErrorReason.ERROR_REASON_WEBHOOK_SIGNATURE_INVALID):
    """The webhook's signature does not match, or its timestamp is too far from now."""


class WebhookNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_WEBHOOK_NOT_FOUND):
    """No webhook with this scheme and id is stored."""


class TrialUsed(ServiceError, reason=ErrorReason.ERROR_REASON_TRIAL_USED):
    """The user has already had a trial; each user gets one."""


class SubscriptionNotCancelled(ServiceError, reason=ErrorReason.ERROR_REASON_SUBSCRIPTION_NOT_CANCELLED):
    """The subscription has no planned cancellation to undo."""


class MessageNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_MESSAGE_NOT_FOUND):
    """There is no message with this id."""


class TemplateNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_TEMPLATE_NOT_FOUND):
    """There is no template with this name."""


class TemplateVariableMissing(ServiceError, reason=ErrorReason.ERROR_REASON_TEMPLATE_VARIABLE_MISSING):
    """The request lacks a variable that the template requires."""


class MessageNotRetryable(ServiceError, reason=ErrorReason.ERROR_REASON_MESSAGE_NOT_RETRYABLE):
    """The message has not failed, so there is nothing to retry."""


class MessageRefused(ServiceError, reason=ErrorReason.ERROR_REASON_MESSAGE_REFUSED):
    """The mail server permanently rejected the message, or the message expired before it was sent."""


class UnsubscribeTokenInvalid(ServiceError, reason=ErrorReason.ERROR_REASON_UNSUBSCRIBE_TOKEN_INVALID):
    """The token of an unsubscribe link was not issued by this service, or its secret is no longer in use."""


class CredentialsInvalid(ServiceError, reason=ErrorReason.ERROR_REASON_CREDENTIALS_INVALID):
    """The email address or the password is wrong."""


class TokenInvalid(ServiceError, reason=ErrorReason.ERROR_REASON_TOKEN_INVALID):
    """The token is malformed, expired, revoked or issued by somebody else."""


class EmailNotConfirmed(ServiceError, reason=ErrorReason.ERROR_REASON_EMAIL_NOT_CONFIRMED):
    """The user has not confirmed the email address."""


class CodeInvalid(ServiceError, reason=ErrorReason.ERROR_REASON_CODE_INVALID):
    """The confirmation or reset code is wrong, used or expired."""


class PasswordTooCommon(ServiceError, reason=ErrorReason.ERROR_REASON_PASSWORD_TOO_COMMON):
    """The password is too common."""


class TooManyAttempts(ServiceError, reason=ErrorReason.ERROR_REASON_TOO_MANY_ATTEMPTS):
    """Too many wrong passwords for this address or from this source; google.rpc.RetryInfo says when to retry."""


class OutboxMessageNotFound(ServiceError, reason=ErrorReason.ERROR_REASON_OUTBOX_MESSAGE_NOT_FOUND):
    """The outbox of this service has no message with this id."""


class OutboxMessageSettled(ServiceError, reason=ErrorReason.ERROR_REASON_OUTBOX_MESSAGE_SETTLED):
    """The message is delivered or being delivered, so it cannot be changed."""


class OutboxMessagePending(ServiceError, reason=ErrorReason.ERROR_REASON_OUTBOX_MESSAGE_PENDING):
    """The message is pending or a dead letter: retry it instead."""
