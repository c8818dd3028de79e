"""Conversion between protobuf messages and the domain of the session service.

`parse_` functions return domain values, `render_` functions return messages.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from contracts.errors import InvalidRequest, Violation
from contracts.mail_address import readable
from mesh.data.idempotency import fingerprint_of
from mesh.serving.request_rules import require
from services.session.booking.domain import BookingCall
from services.session.mails.domain import MailKind
from services.session.sessions.domain import Order, PaymentMethod, Period, Quote, SessionStatus
from services.session.waiting_list.domain import WaitRequest
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period as PeriodMessage
from solo60.payment.v1 import payment_pb2
from solo60.session.v1 import session_pb2
from solo60.session.v1.events_pb2 import SessionBooked, SessionCancelled

if TYPE_CHECKING:
    from interceptors.context import CallContext
    from services.session.guests.domain import Guest
    from services.session.sessions.domain import Session
    from services.session.waiting_list.domain import WaitingListEntry
    from solo60.gym.v1 import gym_pb2

Event = TypeVar("Event", SessionBooked, SessionCancelled)

LAST_BOOKABLE_YEAR = 9998


def parse_order(request: session_pb2.BookSessionRequest) -> Order:
    """Return the order in a request; raise InvalidRequest if it ends after LAST_BOOKABLE_YEAR."""
    method = PaymentMethod.CARD if request.payment_method.HasField("card") else PaymentMethod.CREDITS
    return Order(UUID(request.user_id), UUID(request.gym_id), parse_bookable_period(request.period), method)


def parse_booking_call(request: session_pb2.BookSessionRequest, context: CallContext) -> BookingCall:
    """Return the identity of a call with an idempotency key."""
    return BookingCall(context.caller, context.idempotency_key, fingerprint_of(request), context.correlation_id)


def parse_wait_request(request: session_pb2.JoinWaitingListRequest) -> WaitRequest:
    """Return the wait request in a JoinWaitingList call; raise InvalidRequest if it ends after LAST_BOOKABLE_YEAR."""
    return WaitRequest(UUID(request.user_id), UUID(request.gym_id), parse_bookable_period(request.period))


def parse_bookable_period(message: PeriodMessage) -> Period:
    """Return a period in UTC; raise InvalidRequest if it ends after LAST_BOOKABLE_YEAR."""
    period = parse_period(message)
    # datetime ends with the year 9999, and a later period could overflow in a time zone east of UTC.
    if period.end.year > LAST_BOOKABLE_YEAR:
        require(Violation("period.end_time", f"must be in the year {LAST_BOOKABLE_YEAR} or earlier"))
    return period


def parse_period(message: PeriodMessage) -> Period:
    """Return a period in UTC."""
    return Period(message.start_time.ToDatetime(UTC), message.end_time.ToDatetime(UTC))


def parse_quote(message: gym_pb2.Quote) -> Quote:
    """Return a quote from the gym service."""
    return Quote(
        currency=message.price.currency_code,
        minor_units=message.price.minor_units,
        credits=message.credits,
        noise_policy=message.noise_policy,
        requires_approval=message.requires_approval,
    )


def parse_status(value: session_pb2.SessionStatus.ValueType) -> SessionStatus | None:
    """Return the status of a filter, or None if the filter matches any status."""
    return SessionStatus[session_pb2.SessionStatus.Name(value).removeprefix("SESSION_STATUS_")] if value else None


def parse_mail_kind(template_key: str) -> MailKind:
    """Return the kind of mail with this template key; raise InvalidRequest if there is no such session mail."""
    try:
        return MailKind(template_key)
    except ValueError:
        violation = Violation("template_key", "must be the template key of a session mail")
        raise InvalidRequest(violations=[violation]) from None


def render_session(session: Session) -> session_pb2.Session:
    """Return the message of a session."""
    message = session_pb2.Session(
        session_id=str(session.session_id),
        user_id=str(session.order.user_id),
        gym_id=str(session.order.gym_id),
        period=render_period(session.order.period),
        status=session_pb2.SessionStatus.Value(f"SESSION_STATUS_{session.status.name}"),
        price=_render_price(session.quote),
        credits=session.quote.credits,
        cancel_reason=session.cancel_reason,
    )
    message.create_time.FromDatetime(session.create_time)
    message.update_time.FromDatetime(session.update_time)
    return message


def render_period(period: Period) -> PeriodMessage:
    """Return the message of a period."""
    message = PeriodMessage()
    message.start_time.FromDatetime(period.start)
    message.end_time.FromDatetime(period.end)
    return message


def render_guest(guest: Guest) -> session_pb2.Guest:
    """Return the message of a guest."""
    message = session_pb2.Guest(
        invitation_id=str(guest.invitation_id),
        session_id=str(guest.session_id),
        email=readable(guest.email),
        name=guest.name,
    )
    message.create_time.FromDatetime(guest.create_time)
    return message


def render_entry(entry: WaitingListEntry) -> session_pb2.WaitingListEntry:
    """Return the message of a waiting list entry."""
    message = session_pb2.WaitingListEntry(
        entry_id=str(entry.entry_id),
        user_id=str(entry.request.user_id),
        gym_id=str(entry.request.gym_id),
        period=render_period(entry.request.period),
    )
    message.create_time.FromDatetime(entry.create_time)
    return message


def render_event(event_type: type[Event], session: Session) -> Event:
    """Return the event of a session."""
    order = session.order
    return event_type(
        session_id=str(session.session_id),
        user_id=str(order.user_id),
        gym_id=str(order.gym_id),
        period=render_period(order.period),
    )


def render_charge(session: Session, card_token: str) -> payment_pb2.ChargeSessionRequest:
    """Return the charge request of a session. The price is the stored quote, so a retry sends the same request."""
    if session.order.payment_method is PaymentMethod.CARD:
        method = payment_pb2.PaymentMethod(card=payment_pb2.CardMethod(card_token=card_token))
    else:
        method = payment_pb2.PaymentMethod(credits=payment_pb2.CreditsMethod())
    return payment_pb2.ChargeSessionRequest(
        session_id=str(session.session_id),
        user_id=str(session.order.user_id),
        price=_render_price(session.quote),
        credits=session.quote.credits,
        payment_method=method,
    )


def _render_price(quote: Quote) -> Money:
    return Money(currency_code=quote.currency, minor_units=quote.minor_units)
