"""The session service as a consumer that books, with the usual answers of the providers that a test is not about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp

from local.keys import OPERATOR
from mesh.data.idempotency import fingerprint_of
from services.session.app import SERVICE
from services.session.booking.domain import BookingCall
from services.session.wire import parse_order, parse_quote
from solo60.common.v1.money_pb2 import Money
from solo60.gym.v1.gym_pb2 import GetGymResponse, Gym, Quote, QuotePriceResponse
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.payment.v1.payment_pb2 import PAYMENT_STATUS_CAPTURED, ChargeSessionResponse, Payment
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import GetSessionRequest, SendSessionMailRequest, SendSessionMailResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.user.v1.user_pb2 import USER_STATE_ACTIVE, GetUserResponse, User, ValidateUserResponse
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.session.booking_mesh import HOUR, book_request
from tests.services.session.stores import stores_on

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.testing import Expectations
    from contracts.testing.script import Script
    from solo60.session.v1.session_pb2 import BookSessionRequest, Session, SessionStatus
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub
    from tests.support.consumers import Consume
    from tests.support.serving import MeshForTests

USER_ID, GYM_ID = str(uuid4()), str(uuid4())
PRICE = Money(currency_code="GBP", minor_units=1250)
CREDITS = 3
QUOTE = Quote(price=PRICE, credits=CREDITS)


@dataclass(frozen=True, slots=True)
class BookingConsumer:
    """Running session service. `expectations` are its fake providers."""

    mesh: MeshForTests
    expectations: Expectations
    mails: Script

    @classmethod
    async def served(cls, consume: Consume) -> BookingConsumer:
        """Serve the session service, whose later calls of SendSessionMail have no effect."""
        mesh, expectations = await consume(SERVICE)
        mails = expectations.fake.of(SessionServiceStub).SendSessionMail(answer=SendSessionMailResponse())
        return cls(mesh, expectations, mails)

    @property
    def sessions(self) -> SessionServiceAsyncStub:
        """Stub of the session service, with every scope."""
        return self.mesh.stub(SessionServiceStub)

    async def book(self) -> Session:
        """Book an hour tomorrow, paid in credits, and return the session."""
        return (await self.sessions.BookSession(book_request(USER_ID, GYM_ID))).session

    async def hold(self, request: BookSessionRequest, key: str) -> str:
        """Hold the slot like a call with this key that was cut off before the charge, and return the session's id.

        So a test knows the id before the charge: a repeated call continues the booking.
        """
        bookings, now = stores_on(self.mesh.database("session")).bookings, self.mesh.clock.now()
        call = BookingCall(OPERATOR, key, fingerprint_of(request), "correlation")
        quote = parse_quote(QUOTE)
        booking = await bookings.hold(parse_order(request), quote, call, now=now, expire_time=now + HOUR)
        return str(booking.session.session_id)

    async def status_of(self, session_id: str) -> SessionStatus.ValueType:
        """Return the status of a session."""
        return (await self.sessions.GetSession(GetSessionRequest(session_id=session_id))).session.status

    def answer_for_users(self) -> None:
        """Answer that every user is active and called Ada."""
        users = self.expectations.fake.of(UserServiceStub)
        users.ValidateUser(answer=ValidateUserResponse(valid=True, state=USER_STATE_ACTIVE))
        user = User(user_id=USER_ID, email="ada@members.example", display_name="Ada", state=USER_STATE_ACTIVE)
        users.GetUser(answer=GetUserResponse(user=user))

    def answer_for_gyms(self) -> None:
        """Answer that every gym is open."""
        gyms = self.expectations.fake.of(GymServiceStub)
        gyms.QuotePrice(answer=QuotePriceResponse(quote=QUOTE))
        gyms.GetGym(answer=GetGymResponse(gym=Gym(gym_id=GYM_ID, name="Field Street Gym", time_zone="Europe/London")))

    def answer_for_payments(self) -> None:
        """Answer that every session is charged."""
        payment = Payment(
            payment_id=str(uuid4()),
            session_id=str(uuid4()),
            user_id=USER_ID,
            status=PAYMENT_STATUS_CAPTURED,
            credits=CREDITS,
            create_time=Timestamp(seconds=1),
            update_time=Timestamp(seconds=1),
        )
        self.expectations.fake.of(PaymentServiceStub).ChargeSession(answer=ChargeSessionResponse(payment=payment))

    def mails_due(self) -> list[str]:
        """Return the template keys of the mails that the service has asked itself to send."""
        due = self.requests_to(self.mails)
        return [mail.template_key for mail in due if isinstance(mail, SendSessionMailRequest)]

    def requests_to(self, script: Script) -> list[Message]:
        """Return the requests that a script of the fake has answered."""
        return [request for call in self.expectations.fake.heard(script) for request in call.requests]
