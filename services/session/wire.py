"""Conversion between protobuf messages and the domain of the session service.

`parse_` functions return domain values, `render_` functions return messages.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from contracts.errors import InvalidRequest, Violation
from contracts.mail_address import readable
from mesh.data.etags import etag_of
from mesh.data.idempotency import fingerprint_of
from mesh.serving.request_rules import require
from services.session.booking.domain import BookingCall
from services.session.mails.domain import MailKind
from services.session.offers.domain import WaitingListMode
from services.session.sessions.domain import Order, PaymentMethod, Period, Quote, SessionFilter, SessionStatus
from services.session.waiting_list.domain import WaitRequest
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period as PeriodMessage
from solo60.gym.v1 import gym_pb2
from solo60.payment.v1 import payment_pb2
from solo60.session.v1 import session_pb2
from solo60.session.v1.events_pb2 import SessionBooked, SessionCancelled, SessionRescheduled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from interceptors.context import CallContext
    from services.session.guests.domain import Guest
    from services.session.offers.domain import Offer
    from services.session.sessions.domain import Session
    from services.session.waiting_list.domain import WaitingListEntry

Event = TypeVar("Event", SessionBooked, SessionCancelled)

LAST_BOOKABLE_YEAR = 9998


def parse_order(request: session_pb2.BookSessionRequest) -> Order:
    """Return the order in a request; raise InvalidRequest if it ends after LAST_BOOKABLE_YEAR."""
    method = parse_payment_method(request.payment_method)
    return Order(UUID(request.user_id), UUID(request.gym_id), parse_bookable_period(request.period), method)


def parse_payment_method(message: payment_pb2.PaymentMethod) -> PaymentMethod:
    """Return a payment method, without the token of a card."""
    return PaymentMethod.CARD if message.HasField("card") else PaymentMethod.CREDITS


def parse_booking_call(
    request: session_pb2.BookSessionRequest | session_pb2.ClaimOfferRequest, context: CallContext
) -> BookingCall:
    """Return the identity of a call with an idempotency key. Each method has its own keys."""
    prefix = "claim/" if isinstance(request, session_pb2.ClaimOfferRequest) else ""
    key = f"{prefix}{context.idempotency_key}"
    return BookingCall(context.caller, key, fingerprint_of(request), context.correlation_id)


def parse_waiting_list_mode(value: gym_pb2.WaitingListMode.ValueType) -> WaitingListMode:
    """Return how a gym announces free slots."""
    return WaitingListMode[gym_pb2.WaitingListMode.Name(value).removeprefix("WAITING_LIST_MODE_")]


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


def parse_session_filter(request: session_pb2.ListUserSessionsRequest, now: datetime) -> SessionFilter:
    """Return the filter and order in a request. The field `upcoming_only` excludes sessions that start before `now`."""
    starts = [request.starts_from.ToDatetime(UTC)] if request.HasField("starts_from") else []
    starts += [now] if request.upcoming_only else []
    return SessionFilter(
        statuses=parse_statuses([*request.statuses, *([request.status] if request.status else [])]),
        gym_id=UUID(request.gym_id) if request.gym_id else None,
        starts_from=max(starts, default=None),
        starts_before=request.starts_before.ToDatetime(UTC) if request.HasField("starts_before") else None,
        earliest_first=request.order == session_pb2.SessionOrder.SESSION_ORDER_EARLIEST_FIRST,
    )


def parse_statuses(values: Sequence[session_pb2.SessionStatus.ValueType]) -> list[SessionStatus] | None:
    """Return the statuses of a filter, or None if the filter matches any status."""
    names = [session_pb2.SessionStatus.Name(value).removeprefix("SESSION_STATUS_") for value in values]
    return [SessionStatus[name] for name in names] or None


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
    message.etag = etag_of(message)
    return message


def render_offer(offer: Offer) -> session_pb2.Offer:
    """Return the message of an offer."""
    message = session_pb2.Offer(
        offer_id=str(offer.offer_id),
        entry_id=str(offer.entry_id),
        user_id=str(offer.request.user_id),
        gym_id=str(offer.request.gym_id),
        period=render_period(offer.request.period),
        status=session_pb2.OfferStatus.Value(f"OFFER_STATUS_{offer.status.name}"),
        price=_render_price(offer.quote),
        credits=offer.quote.credits,
    )
    message.expire_time.FromDatetime(offer.expire_time)
    message.create_time.FromDatetime(offer.create_time)
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


def render_rescheduled(session: Session, previous: Period) -> SessionRescheduled:
    """Return the event that a session was moved from the period `previous`."""
    return SessionRescheduled(
        session_id=str(session.session_id),
        user_id=str(session.order.user_id),
        gym_id=str(session.order.gym_id),
        period=render_period(session.order.period),
        previous_period=render_period(previous),
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
