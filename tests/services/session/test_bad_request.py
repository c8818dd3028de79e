from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.errors import IdempotencyKeyMissing, InvalidRequest
from services.session.app import SERVICE
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.events_pb2 import WaitingListModeChanged
from solo60.payment.v1.payment_pb2 import CardMethod, PaymentMethod
from solo60.session.v1.session_pb2 import (
    SESSION_RELATION_GYM,
    SESSION_RELATION_UNSPECIFIED,
    SESSION_STATUS_CONFIRMED,
    SESSION_STATUS_UNSPECIFIED,
    ApproveSessionRequest,
    BookSessionRequest,
    CancelInvitationRequest,
    CancelSessionRequest,
    CheckConflictsRequest,
    ClaimOfferRequest,
    DeclineOfferRequest,
    ExpireOfferRequest,
    GetOfferRequest,
    GetSessionRequest,
    InviteGuestRequest,
    JoinWaitingListRequest,
    LeaveWaitingListRequest,
    ListGuestsRequest,
    ListGymSessionsRequest,
    ListUserSessionsRequest,
    ListWaitingListRequest,
    OnWaitingListModeChangedRequest,
    RejectSessionRequest,
    RescheduleSessionRequest,
    SendSessionMailRequest,
    WatchAvailabilityRequest,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.services.session.booking_mesh import BY_CREDITS, HOUR, TOMORROW, book_request, period, with_key

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub
    from tests.support.serving import Serve

SOME_ID = str(uuid4())
SOME_ETAG = "0" * 32


# All tests of this module share one server, so they share its event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sessions(serve_module: Serve) -> SessionServiceAsyncStub:
    """Serve sessions alone for the whole module: invalid requests are rejected before another service is called."""
    mesh = await serve_module(SERVICE)
    return mesh.stub(SessionServiceStub)


def booking(**changes: object) -> BookSessionRequest:
    """Return a booking request with some fields changed."""
    good = {descriptor.name: value for descriptor, value in book_request(SOME_ID, SOME_ID).ListFields()}
    return BookSessionRequest(**{**good, **changes})


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("rpc", "field", "request_"),
    [
        ("GetSession", "session_id", GetSessionRequest(session_id="1")),
        ("GetSession", "include[0]", GetSessionRequest(session_id=SOME_ID, include=[SESSION_RELATION_UNSPECIFIED])),
        ("GetSession", "include", GetSessionRequest(session_id=SOME_ID, include=[SESSION_RELATION_GYM] * 2)),
        ("ListUserSessions", "user_id", ListUserSessionsRequest(user_id="ada")),
        ("ListUserSessions", "status", ListUserSessionsRequest(user_id=SOME_ID, status=99)),  # type: ignore[arg-type]  # an unknown status
        ("ListUserSessions", "page_size", ListUserSessionsRequest(user_id=SOME_ID, page_size=-1)),
        ("ListUserSessions", "page_token", ListUserSessionsRequest(user_id=SOME_ID, page_token="next")),  # noqa: S106 - no secret
        ("ListUserSessions", "page_token", ListUserSessionsRequest(user_id=SOME_ID, page_token=uuid4().hex)),
        ("ListUserSessions", "gym_id", ListUserSessionsRequest(user_id=SOME_ID, gym_id="field-street")),
        (
            "ListUserSessions",
            "statuses",
            ListUserSessionsRequest(user_id=SOME_ID, statuses=[SESSION_STATUS_CONFIRMED] * 2),
        ),
        (
            "ListUserSessions",
            "statuses[0]",
            ListUserSessionsRequest(user_id=SOME_ID, statuses=[SESSION_STATUS_UNSPECIFIED]),
        ),
        ("ListUserSessions", "order", ListUserSessionsRequest(user_id=SOME_ID, order=9)),  # type: ignore[arg-type]  # an unknown order
        (
            "ListUserSessions",
            "",
            ListUserSessionsRequest(user_id=SOME_ID, starts_from=period().end_time, starts_before=period().start_time),
        ),
        ("ListUserSessions", "starts_from", ListUserSessionsRequest(user_id=SOME_ID, starts_from=Timestamp(nanos=-1))),
        ("ListGymSessions", "gym_id", ListGymSessionsRequest(gym_id="1", period=period())),
        ("ListGymSessions", "period", ListGymSessionsRequest(gym_id=SOME_ID)),
        ("ListGymSessions", "period", ListGymSessionsRequest(gym_id=SOME_ID, period=period(length=745 * HOUR))),
        (
            "ListGymSessions",
            "statuses[0]",
            ListGymSessionsRequest(gym_id=SOME_ID, period=period(), statuses=[SESSION_STATUS_UNSPECIFIED]),
        ),
        ("RescheduleSession", "session_id", RescheduleSessionRequest(period=period(), etag=SOME_ETAG)),
        ("RescheduleSession", "period", RescheduleSessionRequest(session_id=SOME_ID, etag=SOME_ETAG)),
        ("RescheduleSession", "etag", RescheduleSessionRequest(session_id=SOME_ID, period=period())),
        *(
            ("RescheduleSession", "period", RescheduleSessionRequest(session_id=SOME_ID, period=bad, etag=SOME_ETAG))
            for bad in (period(TOMORROW + timedelta(minutes=7)), period(length=13 * HOUR), period(length=-HOUR))
        ),
        ("GetOffer", "offer_id", GetOfferRequest(offer_id="1")),
        ("ClaimOffer", "offer_id", ClaimOfferRequest(offer_id="1", payment_method=BY_CREDITS)),
        ("ClaimOffer", "payment_method", ClaimOfferRequest(offer_id=SOME_ID)),
        ("DeclineOffer", "offer_id", DeclineOfferRequest()),
        ("ExpireOffer", "offer_id", ExpireOfferRequest()),
        ("OnWaitingListModeChanged", "event", OnWaitingListModeChangedRequest()),
        (
            "OnWaitingListModeChanged",
            "event.waiting_list_mode",
            OnWaitingListModeChangedRequest(event=WaitingListModeChanged(gym_id=SOME_ID)),
        ),
        ("CheckConflicts", "gym_id", CheckConflictsRequest(gym_id="", period=period())),
        ("CheckConflicts", "period", CheckConflictsRequest(gym_id=SOME_ID)),
        (
            "CheckConflicts",
            "period.end_time",
            CheckConflictsRequest(gym_id=SOME_ID, period=Period(start_time=period().start_time)),
        ),
        (
            "CheckConflicts",
            "period",
            CheckConflictsRequest(gym_id=SOME_ID, period=period(length=31 * 24 * HOUR + HOUR)),
        ),
        *(
            ("CheckConflicts", f"period.{name}", CheckConflictsRequest(gym_id=SOME_ID, period=malformed))
            for name, malformed in (
                ("start_time", Period(start_time=Timestamp(nanos=10**9), end_time=Timestamp(seconds=900))),
                ("start_time", Period(start_time=Timestamp(seconds=-62_135_596_801), end_time=Timestamp())),
                ("end_time", Period(start_time=Timestamp(), end_time=Timestamp(seconds=900, nanos=-1))),
                ("end_time", Period(start_time=Timestamp(), end_time=Timestamp(seconds=253_402_300_800))),
            )
        ),
        ("BookSession", "user_id", booking(user_id="ada")),
        ("BookSession", "gym_id", booking(gym_id="")),
        ("BookSession", "period", booking(period=period(TOMORROW + timedelta(minutes=7)))),
        ("BookSession", "period", booking(period=period(length=13 * HOUR))),
        ("BookSession", "period", booking(period=period(length=-HOUR))),
        ("BookSession", "period.end_time", booking(period=period(datetime(9999, 12, 31, 12, tzinfo=UTC)))),
        ("BookSession", "payment_method", booking(payment_method=None)),
        ("BookSession", "payment_method.method", booking(payment_method=PaymentMethod())),
        ("BookSession", "payment_method.card.card_token", booking(payment_method=PaymentMethod(card=CardMethod()))),
        ("CancelSession", "session_id", CancelSessionRequest(session_id="1")),
        ("CancelSession", "reason", CancelSessionRequest(session_id=SOME_ID, reason="x" * 501)),
        ("CancelSession", "reason", CancelSessionRequest(session_id=SOME_ID, reason="flu\x00")),
        ("ApproveSession", "session_id", ApproveSessionRequest(session_id="1")),
        ("RejectSession", "reason", RejectSessionRequest(session_id=SOME_ID)),
        ("InviteGuest", "session_id", InviteGuestRequest(email="grace@guests.example", name="Grace")),
        ("InviteGuest", "email", InviteGuestRequest(session_id=SOME_ID, email="grace", name="Grace")),
        ("InviteGuest", "name", InviteGuestRequest(session_id=SOME_ID, email="grace@guests.example")),
        ("CancelInvitation", "invitation_id", CancelInvitationRequest(invitation_id="1")),
        ("ListGuests", "page_size", ListGuestsRequest(session_id=SOME_ID, page_size=-1)),
        ("JoinWaitingList", "user_id", JoinWaitingListRequest(gym_id=SOME_ID, period=period())),
        ("JoinWaitingList", "period", JoinWaitingListRequest(user_id=SOME_ID, gym_id=SOME_ID)),
        (
            "JoinWaitingList",
            "period",
            JoinWaitingListRequest(user_id=SOME_ID, gym_id=SOME_ID, period=period(length=13 * HOUR)),
        ),
        ("LeaveWaitingList", "entry_id", LeaveWaitingListRequest(entry_id="1")),
        ("ListWaitingList", "page_token", ListWaitingListRequest(gym_id=SOME_ID, page_token=uuid4().hex)),
        ("SendSessionMail", "template_key", SendSessionMailRequest(session_id=SOME_ID, template_key="GREETINGS")),
        ("SendSessionMail", "", SendSessionMailRequest(session_id=SOME_ID, template_key="GUEST_INVITED")),
        ("SendSessionMail", "", SendSessionMailRequest(session_id=SOME_ID, template_key="SPOT_AVAILABLE")),
        ("SendSessionMail", "", SendSessionMailRequest(session_id=SOME_ID, template_key="SLOT_OFFERED")),
        (
            "SendSessionMail",
            "",
            SendSessionMailRequest(session_id=SOME_ID, template_key="SESSION_BOOKED", offer_id=SOME_ID),
        ),
        ("SendSessionMail", "move", SendSessionMailRequest(session_id=SOME_ID, template_key="SESSION_BOOKED", move=-1)),
        (
            "SendSessionMail",
            "",
            SendSessionMailRequest(session_id=SOME_ID, template_key="SESSION_BOOKED", invitation_id=SOME_ID),
        ),
    ],
)
async def test_an_invalid_request_names_its_field(
    sessions: SessionServiceAsyncStub, rpc: str, field: str, request_: Message
) -> None:
    """An invalid request is rejected with INVALID_ARGUMENT and one violation, which names the field."""
    with pytest.raises(InvalidRequest) as refusal:
        await getattr(sessions, rpc)(request_)

    assert [violation.field for violation in refusal.value.violations] == [field]


@pytest.mark.requirement("C3")
async def test_watching_an_invalid_period_is_rejected(sessions: SessionServiceAsyncStub) -> None:
    """A stream with invalid fields is rejected with a violation for each of them."""
    request = WatchAvailabilityRequest(gym_id="field-street", period=period(length=32 * 24 * HOUR))

    with pytest.raises(InvalidRequest) as refusal:
        async for _ in sessions.WatchAvailability(request):
            pass

    assert {violation.field for violation in refusal.value.violations} == {"gym_id", "period"}


@pytest.mark.requirement("S6")
async def test_a_booking_without_a_valid_key_is_rejected(sessions: SessionServiceAsyncStub) -> None:
    """A booking without a valid idempotency key is rejected, because a repetition would book again."""
    with pytest.raises(IdempotencyKeyMissing):
        await sessions.BookSession(booking(), metadata=with_key(""))
