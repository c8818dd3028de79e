"""Session messages: what the contract says, as the domain has it, and the other way round."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from contracts.errors import InvalidRequest, Violation
from contracts.mail_address import readable
from mesh.idempotency import fingerprint_of, keyed_call
from mesh.request_rules import require
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
    """Return what a request wants booked; raise InvalidRequest when it ends after every calendar."""
    means = Means.CARD if request.payment_method.HasField("card") else Means.CREDITS
    return domain.Order(UUID(request.user_id), UUID(request.gym_id), bookable_period_of(request.period), means)


def call_of(request: BookSessionRequest) -> domain.BookingCall:
    """Return what tells the call being served from others; raise IdempotencyKeyMissing outside of a call with a key."""
    call = keyed_call()
    return domain.BookingCall(call.caller, call.idempotency_key, fingerprint_of(request), call.correlation_id)


def wish_of(request: JoinWaitingListRequest) -> domain.Wish:
    """Return what a request waits for; raise InvalidRequest when it ends after every calendar."""
    return domain.Wish(UUID(request.user_id), UUID(request.gym_id), bookable_period_of(request.period))


def bookable_period_of(message: Period) -> domain.Period:
    """Return a period of the contract in UTC; raise InvalidRequest when it ends after every calendar."""
    period = period_of(message)
    # At the end of the calendar, a time zone may lead out of it.
    if period.end.year > LAST_BOOKABLE_YEAR:
        require(Violation("period.end_time", f"must lie in the year {LAST_BOOKABLE_YEAR} at the latest"))
    return period


def period_of(message: Period) -> domain.Period:
    """Return a period of the contract in UTC."""
    return domain.Period(message.start_time.ToDatetime(UTC), message.end_time.ToDatetime(UTC))


def period_message(period: domain.Period) -> Period:
    """Return a period as the contract has it."""
    message = Period()
    message.start_time.FromDatetime(period.start)
    message.end_time.FromDatetime(period.end)
    return message


def quote_of(message: Quote) -> domain.Quote:
    """Return what the gym service says a period costs."""
    return domain.Quote(
        currency=message.price.currency_code,
        minor_units=message.price.minor_units,
        credits=message.credits,
        noise_policy=message.noise_policy,
        requires_approval=message.requires_approval,
    )


def charge_request(session: domain.Session, payment_method: PaymentMethod) -> ChargeSessionRequest:
    """Return the charge of a session, the same each time: the price is the one it was booked with."""
    return ChargeSessionRequest(
        session_id=str(session.session_id),
        user_id=str(session.order.user_id),
        price=_money(session.quote),
        credits=session.quote.credits,
        payment_method=payment_method,
    )


def session_message(session: domain.Session) -> Session:
    """Return a session as the contract has it."""
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
    """Return a guest as the contract has it."""
    message = Guest(
        invitation_id=str(guest.invitation_id),
        session_id=str(guest.session_id),
        email=readable(guest.email),
        name=guest.name,
    )
    message.create_time.FromDatetime(guest.create_time)
    return message


def entry_message(entry: domain.WaitingListEntry) -> WaitingListEntry:
    """Return the entry of a waiting list as the contract has it."""
    message = WaitingListEntry(
        entry_id=str(entry.entry_id),
        user_id=str(entry.wish.user_id),
        gym_id=str(entry.wish.gym_id),
        period=period_message(entry.wish.period),
    )
    message.create_time.FromDatetime(entry.create_time)
    return message


def mail_of(template_key: str) -> Mail:
    """Return the mail with this template; raise InvalidRequest when it is not about a session."""
    try:
        return Mail(template_key)
    except ValueError:
        violation = Violation("template_key", "must be the template of a mail about a session")
        raise InvalidRequest(violations=[violation]) from None


def event_of(kind: type[Event], session: domain.Session) -> Event:
    """Return what the world is told of a session to which something of this kind has happened."""
    order = session.order
    return kind(
        session_id=str(session.session_id),
        user_id=str(order.user_id),
        gym_id=str(order.gym_id),
        period=period_message(order.period),
    )


def status_of(value: SessionStatus.ValueType) -> Status | None:
    """Return the status that a filter asks for, None for any."""
    return Status[SessionStatus.Name(value).removeprefix("SESSION_STATUS_")] if value else None


def _money(quote: domain.Quote) -> Money:
    return Money(currency_code=quote.currency, minor_units=quote.minor_units)
