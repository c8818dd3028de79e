"""The session service as a consumer that sends mails, with the usual answers of the other services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from contracts.example_messages import example_of
from services.session.app import SERVICE
from solo60.common.v1.money_pb2 import Money
from solo60.gym.v1.events_pb2 import WaitingListModeChanged
from solo60.gym.v1.gym_pb2 import WAITING_LIST_MODE_OFFER_ONE, Quote, QuotePriceResponse
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.payment.v1.payment_pb2 import ChargeSessionResponse, RefundSessionResponse
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1 import session_pb2 as pb
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.user.v1.user_pb2 import USER_STATE_ACTIVE, ValidateUserResponse
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.session.booking_mesh import HOUR, TOMORROW, book_request, period

if TYPE_CHECKING:
    from contracts.testing import Expectations
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub
    from tests.support.consumers import Consume
    from tests.support.serving import MeshForTests

QUOTE = Quote(price=Money(currency_code="GBP", minor_units=1250), credits=3)
_ONLY_OFFER = "select offer_id from offers"


@dataclass(frozen=True, slots=True)
class MailConsumer:
    """Running session service. Every user is active, every gym is open, and every payment succeeds."""

    mesh: MeshForTests
    expectations: Expectations

    @classmethod
    async def served(
        cls, consume: Consume, *, noise_policy: str = "", requires_approval: bool = False, strict_contracts: bool = True
    ) -> MailConsumer:
        """Serve the session service, with gyms that have these rules."""
        mesh, expectations = await consume(SERVICE, strict_contracts=strict_contracts)
        fake, quote = expectations.fake, Quote(noise_policy=noise_policy, requires_approval=requires_approval)
        quote.MergeFrom(QUOTE)
        fake.of(UserServiceStub).ValidateUser(answer=ValidateUserResponse(valid=True, state=USER_STATE_ACTIVE))
        fake.of(GymServiceStub).QuotePrice(answer=QuotePriceResponse(quote=quote))
        fake.of(PaymentServiceStub).ChargeSession(answer=example_of(ChargeSessionResponse))
        fake.of(PaymentServiceStub).RefundSession(answer=example_of(RefundSessionResponse))
        return cls(mesh, expectations)

    @property
    def sessions(self) -> SessionServiceAsyncStub:
        """Stub of the session service, with every scope."""
        return self.mesh.stub(SessionServiceStub)

    def take_mails(self, *template_keys: str) -> None:
        """Deliver mails with these templates to nobody, without an expectation; by default, all other mails."""
        own = self.expectations.fake.of(SessionServiceStub)
        for template_key in template_keys or ("",):
            request = pb.SendSessionMailRequest(template_key=template_key)
            own.SendSessionMail(request=request, answer=pb.SendSessionMailResponse())

    async def offering_gym(self) -> str:
        """Return the id of a gym that offers free slots to one member at a time."""
        event = WaitingListModeChanged(gym_id=str(uuid4()), waiting_list_mode=WAITING_LIST_MODE_OFFER_ONE)
        await self.sessions.OnWaitingListModeChanged(pb.OnWaitingListModeChangedRequest(event=event))
        return event.gym_id

    async def book(self, gym_id: str = "") -> pb.Session:
        """Book an hour of a new member tomorrow, by default in a new gym."""
        return (await self.sessions.BookSession(book_request(str(uuid4()), gym_id or str(uuid4())))).session

    async def cancel(self, session: pb.Session) -> None:
        """Cancel a session."""
        await self.sessions.CancelSession(pb.CancelSessionRequest(session_id=session.session_id))

    async def move(self, session: pb.Session) -> None:
        """Move a session by an hour."""
        request = pb.RescheduleSessionRequest(
            session_id=session.session_id, period=period(TOMORROW + HOUR), etag=session.etag
        )
        await self.sessions.RescheduleSession(request)

    async def invite(self, session: pb.Session) -> pb.Guest:
        """Invite a guest."""
        request = pb.InviteGuestRequest(session_id=session.session_id, email="grace@guests.example", name="Grace")
        return (await self.sessions.InviteGuest(request)).guest

    async def wait_for(self, session: pb.Session) -> pb.WaitingListEntry:
        """Let a new member join the waiting list for the hour of a session."""
        request = pb.JoinWaitingListRequest(user_id=str(uuid4()), gym_id=session.gym_id, period=session.period)
        return (await self.sessions.JoinWaitingList(request)).entry

    async def offer(self) -> pb.Offer:
        """Offer the hour of a cancelled session to the member who waits for it, and return the only offer."""
        session = await self.book(await self.offering_gym())
        await self.wait_for(session)
        await self.cancel(session)
        async with self.mesh.database("session").connection() as connection:
            offer_id = str(await connection.fetchval(_ONLY_OFFER))
        return (await self.sessions.GetOffer(pb.GetOfferRequest(offer_id=offer_id))).offer
