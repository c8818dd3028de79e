"""Conversion between the protobuf messages and the domain of the session service."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from contracts.errors import InvalidRequest, Violation
from contracts.mail_address import readable
from mesh.data.idempotency import fingerprint_of, keyed_call
from mesh.serving.request_rules import require
from services.session import domain
from services.session.domain import Mail, Means, Status
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.payment.v1.payment_pb2 import ChargeSessionRequest, PaymentMethod
from solo60.session.v1.events_pb2 import SessionBooked, SessionCancelled
from solo60.session.v1.session_pb2 import Guest, Session, SessionStatus, WaitingListEntry

if TYPE_CHECKING:
    from solo60.gym.v1.gym_pb2 import Quote
    from solo60.session.v1.session_pb2 import BookSessionRequest, JoinWaitingListRequest

Event = TypeVar("Event", SessionBooked, SessionCancelled)

LAST_BOOKABLE_YEAR = 9998


def order_of(request: BookSessionRequest) -> domain.Order:
    """Return the order in a request; raise InvalidRequest if it ends after LAST_BOOKABLE_YEAR."""
    means = Means.CARD if request.payment_method.HasField("card") else Means.CREDITS
    return domain.Order(UUID(request.user_id), UUID(request.gym_id), bookable_period_of(request.period), means)


def call_of(request: BookSessionRequest) -> domain.BookingCall:
    """Return the identity of the current call; raise IdempotencyKeyMissing outside of a call with a key."""
    call = keyed_call()
    return domain.BookingCall(call.caller, call.idempotency_key, fingerprint_of(request), call.correlation_id)


def wish_of(request: JoinWaitingListRequest) -> domain.Wish:
    """Return the wish in a request; raise InvalidRequest if it ends after LAST_BOOKABLE_YEAR."""
    return domain.Wish(UUID(request.user_id), UUID(request.gym_id), bookable_period_of(request.period))


def bookable_period_of(message: Period) -> domain.Period:
    """Return a period in UTC; raise InvalidRequest if it ends after LAST_BOOKABLE_YEAR."""
    period = period_of(message)
    # datetime ends with the year 9999, and a later period could overflow in a time zone east of UTC.
    if period.end.year > LAST_BOOKABLE_YEAR:
        require(Violation("period.end_time", f"must be in the year {LAST_BOOKABLE_YEAR} or earlier"))
    return period


def period_of(message: Period) -> domain.Period:
    """Return a period in UTC."""
    return domain.Period(message.start_time.ToDatetime(UTC), message.end_time.ToDatetime(UTC))


def period_message(period: domain.Period) -> Period:
    """Return the protobuf message of a period."""
    message = Period()
    message.start_time.FromDatetime(period.start)
    message.end_time.FromDatetime(period.end)
    return message


def quote_of(message: Quote) -> domain.Quote:
    """Return the domain object of a quote from the gym service."""
    return domain.Quote(
        currency=message.price.currency_code,
        minor_units=message.price.minor_units,
        credits=message.credits,
        noise_policy=message.noise_policy,
        requires_approval=message.requires_approval,
    )


def charge_request(session: domain.Session, payment_method: PaymentMethod) -> ChargeSessionRequest:
    """Return the charge request of a session. The price is the stored quote, so a retry sends the same request."""
    return ChargeSessionRequest(
        session_id=str(session.session_id),
        user_id=str(session.order.user_id),
        price=_money(session.quote),
        credits=session.quote.credits,
        payment_method=payment_method,
    )


def session_message(session: domain.Session) -> Session:
    """Return the protobuf message of a session."""
    message = Session(
        session_id=str(session.session_id),
        user_id=str(session.order.user_id),
        gym_id=str(session.order.gym_id),
        period=period_message(session.order.period),
        status=SessionStatus.Value(f"SESSION_STATUS_{session.status.name}"),
        price=_money(session.quote),
        credits=session.quote.credits,
        cancel_reason=session.cancel_reason,
    )
    message.create_time.FromDatetime(session.create_time)
    message.update_time.FromDatetime(session.update_time)
    return message


def guest_message(guest: domain.Guest) -> Guest:
    """Return the protobuf message of a guest."""
    message = Guest(
        invitation_id=str(guest.invitation_id),
        session_id=str(guest.session_id),
        email=readable(guest.email),
        name=guest.name,
    )
    message.create_time.FromDatetime(guest.create_time)
    return message


def entry_message(entry: domain.WaitingListEntry) -> WaitingListEntry:
    """Return the protobuf message of a waiting list entry."""
    message = WaitingListEntry(
        entry_id=str(entry.entry_id),
        user_id=str(entry.wish.user_id),
        gym_id=str(entry.wish.gym_id),
        period=period_message(entry.wish.period),
    )
    message.create_time.FromDatetime(entry.create_time)
    return message


def mail_of(template_key: str) -> Mail:
    """Return the mail with this template key; raise InvalidRequest if there is no such session mail."""
    try:
        return Mail(template_key)
    except ValueError:
        violation = Violation("template_key", "must be the template key of a session mail")
        raise InvalidRequest(violations=[violation]) from None


def event_of(kind: type[Event], session: domain.Session) -> Event:
    """Return the event of type `kind` for a session."""
    order = session.order
    return kind(
        session_id=str(session.session_id),
        user_id=str(order.user_id),
        gym_id=str(order.gym_id),
        period=period_message(order.period),
    )


def status_of(value: SessionStatus.ValueType) -> Status | None:
    """Return the status of a filter, or None if the filter matches any status."""
    return Status[SessionStatus.Name(value).removeprefix("SESSION_STATUS_")] if value else None


def _money(quote: domain.Quote) -> Money:
    return Money(currency_code=quote.currency, minor_units=quote.minor_units)
