from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from mesh.formatting import format_time
from services.communication.mail_template import TEMPLATES, Templates
from services.session.guests.domain import Guest
from services.session.mails.domain import MailKind, SessionMail
from services.session.mails.mailer import format_price, recipient_of, variables_of
from services.session.offers.domain import Offer, OfferStatus
from services.session.sessions.domain import Order, PaymentMethod, Period, Quote, Session, SessionStatus
from services.session.waiting_list.domain import WaitingListEntry, WaitRequest
from solo60.communication.v1.communication_pb2 import Recipient
from solo60.gym.v1.gym_pb2 import Gym
from solo60.user.v1.user_pb2 import User

EVENING = datetime(2026, 8, 3, 18, tzinfo=UTC)
OFFERED = WaitRequest(UUID(int=1), UUID(int=2), Period(EVENING, EVENING + timedelta(hours=1)))
GUEST = Guest(UUID(int=4), UUID(int=3), "grace@guests.example", "Grace", EVENING, is_cancelled=False)


def session(method: PaymentMethod, amount: int, currency: str = "GBP") -> Session:
    """Return a session at this price."""
    quote = Quote(currency=currency, minor_units=amount, credits=amount, noise_policy="Quiet", requires_approval=False)
    order = Order(UUID(int=1), UUID(int=2), Period(EVENING, EVENING + timedelta(hours=1)), method)
    return Session(UUID(int=3), order, quote, SessionStatus.CONFIRMED, "", EVENING, EVENING, "")


def offer(request: WaitRequest = OFFERED, status: OfferStatus = OfferStatus.OPEN) -> Offer:
    """Return an offer that ends half an hour before the period."""
    quote, ends = session(PaymentMethod.CARD, 1250).quote, EVENING - timedelta(minutes=30)
    return Offer(UUID(int=7), UUID(int=6), UUID(int=3), request, quote, status, ends, ends)


def mail_of(kind: MailKind, booked: Session) -> SessionMail:
    """Return a mail of this kind about a session, with a guest or an offer if the kind needs one."""
    guest = GUEST if kind.startswith("GUEST_") else None
    return SessionMail(kind, booked, guest, offer=offer() if kind is MailKind.SLOT_OFFERED else None)


@pytest.mark.parametrize("kind", MailKind)
def test_every_mail_about_a_session_fills_its_template(kind: MailKind) -> None:
    """The session service sends every variable that the template of each of its mails requires."""
    mail = mail_of(kind, session(PaymentMethod.CARD, 1250))
    user, gym = User(display_name="Ada"), Gym(name="Field Street Gym", time_zone="Europe/London")

    text = Templates(TEMPLATES).find(kind).fill(variables_of(mail, user, gym))

    assert "Field Street Gym" in text.subject
    assert "Ada" in text.body


def test_only_a_member_is_a_recipient_with_a_user_id() -> None:
    """A mail to a member names the member's user id. A guest has no account, so a mail to a guest names none."""
    booked = session(PaymentMethod.CARD, 1250)
    user = User(user_id=str(UUID(int=1)), email="ada@members.example", display_name="Ada")

    to_member = recipient_of(SessionMail(MailKind.BOOKED, booked), user)
    to_guest = recipient_of(SessionMail(MailKind.GUEST_INVITED, booked, GUEST), user)

    assert to_member == Recipient(email=user.email, display_name="Ada", user_id=user.user_id)
    assert to_guest == Recipient(email=GUEST.email, display_name=GUEST.name)


@pytest.mark.parametrize(
    ("method", "amount", "currency", "words"),
    [
        (PaymentMethod.CREDITS, 1, "GBP", "1 credit"),
        (PaymentMethod.CREDITS, 3, "GBP", "3 credits"),
        (PaymentMethod.CARD, 1250, "GBP", "12.50 GBP"),
        (PaymentMethod.CARD, 5, "EUR", "0.05 EUR"),
        (PaymentMethod.CARD, 1250, "JPY", "1250 JPY"),
        (PaymentMethod.CARD, 1250, "KWD", "1.250 KWD"),
    ],
)
def test_a_price_is_shown_in_its_currency(method: PaymentMethod, amount: int, currency: str, words: str) -> None:
    """A price is shown in credits or with the number of decimals of its currency (ISO 4217)."""
    assert format_price(session(method, amount, currency)) == words


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "Monday 3 August 2026, 18:00 (UTC)"),
        ("Europe/London", "Monday 3 August 2026, 19:00 (Europe/London)"),
        ("Pacific/Auckland", "Tuesday 4 August 2026, 06:00 (Pacific/Auckland)"),
    ],
)
def test_a_time_is_shown_in_the_members_time_zone(zone: str, words: str) -> None:
    """A time is shown in the member's time zone, together with the name of that zone."""
    assert format_time(EVENING, zone) == words


@pytest.mark.parametrize("kind", MailKind)
def test_mails_distinguish_the_repeated_hour_of_a_clock_change(kind: MailKind) -> None:
    """Start and end of a session in the repeated hour of a clock change are shown with their UTC offsets."""
    clocks_back = Period(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC))
    booked = session(PaymentMethod.CARD, 1250)
    booked = replace(booked, order=replace(booked.order, period=clocks_back))
    mail = mail_of(kind, booked)
    user, gym = User(time_zone="Europe/London"), Gym(time_zone="Europe/London")

    text = Templates(TEMPLATES).find(kind).fill(variables_of(mail, user, gym))

    assert "01:30 (Europe/London, UTC+01:00)" in text.subject + text.body
    assert "01:30 (Europe/London)" not in text.subject + text.body
    if "end_time" in Templates(TEMPLATES).find(kind).variables:
        assert "01:30 (Europe/London, UTC+00:00)" in text.body


@pytest.mark.requirement("J5")
def test_a_mail_to_the_waiting_list_can_be_outdated() -> None:
    """A mail to the waiting list is outdated once its reader has left the list or the slot has begun."""
    booked = session(PaymentMethod.CREDITS, 3)
    request = WaitRequest(UUID(int=5), UUID(int=2), booked.order.period)
    waits, left = (WaitingListEntry(UUID(int=6), request, EVENING, is_over=is_over) for is_over in (False, True))
    before = EVENING - timedelta(seconds=1)

    assert not SessionMail(MailKind.SPOT_AVAILABLE, booked, waiting=waits).is_outdated(before)
    assert SessionMail(MailKind.SPOT_AVAILABLE, booked, waiting=left).is_outdated(before)
    assert SessionMail(MailKind.SPOT_AVAILABLE, booked, waiting=waits).is_outdated(EVENING)
    assert not SessionMail(MailKind.CANCELLED, booked).is_outdated(EVENING)


def test_a_mail_about_an_offer_is_outdated_when_the_offer_ends() -> None:
    """A mail about an offer is outdated once the offer is expired, claimed, declined or withdrawn."""
    booked, before = session(PaymentMethod.CREDITS, 3), EVENING - timedelta(hours=1)

    assert not SessionMail(MailKind.SLOT_OFFERED, booked, offer=offer()).is_outdated(before)
    assert SessionMail(MailKind.SLOT_OFFERED, booked, offer=offer()).is_outdated(EVENING - timedelta(minutes=30))
    for status in set(OfferStatus) - {OfferStatus.OPEN}:
        assert SessionMail(MailKind.SLOT_OFFERED, booked, offer=offer(status=status)).is_outdated(before)


def test_a_mail_about_a_move_is_outdated_after_another_move() -> None:
    """A mail about a move is outdated once the session was moved again. Other mails about the session are not."""
    moved_twice = replace(session(PaymentMethod.CREDITS, 3), moves=2)

    assert SessionMail(MailKind.RESCHEDULED, moved_twice, move=1).is_outdated(EVENING)
    assert SessionMail(MailKind.GUEST_RESCHEDULED, moved_twice, GUEST, move=1).is_outdated(EVENING)
    assert not SessionMail(MailKind.RESCHEDULED, moved_twice, move=2).is_outdated(EVENING)
    assert not SessionMail(MailKind.BOOKED, moved_twice).is_outdated(EVENING)


def test_each_move_has_mails_of_its_own() -> None:
    """The keys of mails differ by move, and those about two slots that one session released differ by slot."""
    booked = session(PaymentMethod.CREDITS, 3)
    waits = WaitingListEntry(UUID(int=6), OFFERED, EVENING, is_over=False)
    later = Period(EVENING + timedelta(hours=2), EVENING + timedelta(hours=3))
    mails = [SessionMail(MailKind.RESCHEDULED, booked, move=move) for move in range(3)]
    mails += [
        SessionMail(MailKind.SPOT_AVAILABLE, booked, None, waits, move=1, free_period=each) for each in (None, later)
    ]

    assert len({mail.key for mail in mails}) == len(mails)
