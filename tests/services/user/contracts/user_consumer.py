"""The user service as a consumer, with expectations on the services that erase a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from solo60.auth.v1 import auth_pb2
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.communication.v1 import communication_pb2
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.payment.v1 import payment_pb2
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1 import session_pb2
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1 import subscription_pb2
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.events_pb2 import UserErased, UserLeft
from solo60.user.v1.user_pb2 import CompleteErasureRequest, CompleteErasureResponse, EraseUserRequest, User
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.user_requests import add_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.testing import Expectations
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.serving import MeshForTests

EMAIL = "ada@example.org"


@dataclass(frozen=True, slots=True)
class UserConsumer:
    """Running user service. `expectations` are its fake providers."""

    mesh: MeshForTests
    expectations: Expectations

    @property
    def users(self) -> UserServiceAsyncStub:
        """Stub of the user service, with every scope."""
        return self.mesh.stub(UserServiceStub)

    async def add_user(self) -> User:
        """Add a user and return it."""
        return await add_user(self.users, EMAIL)

    async def erase(self, user: User) -> None:
        """Request the erasure of a user."""
        await self.users.EraseUser(EraseUserRequest(user_id=user.user_id))

    def expect_departure(self, user: User) -> None:
        """Expect that each subscriber takes the event that the user has left."""
        event, later = UserLeft(user_id=user.user_id), self.expectations.later
        later(AuthServiceStub).given("a user with a password", user_id=user.user_id).OnUserLeft(
            request=auth_pb2.OnUserLeftRequest(event=event), answer=auth_pb2.OnUserLeftResponse()
        )
        later(SessionServiceStub).given("a member with a booked session", user_id=user.user_id).OnUserLeft(
            request=session_pb2.OnUserLeftRequest(event=event), answer=session_pb2.OnUserLeftResponse()
        )
        later(SubscriptionServiceStub).given("a subscriber", user_id=user.user_id).OnUserLeft(
            request=subscription_pb2.OnUserLeftRequest(event=event), answer=subscription_pb2.OnUserLeftResponse()
        )

    def expect_own_call(self, user: User) -> None:
        """Expect that the user service takes its own later call, which completes the erasure."""
        self.expectations.later(UserServiceStub).given(
            "a user who is being erased", user_id=user.user_id
        ).CompleteErasure(request=CompleteErasureRequest(user_id=user.user_id), answer=CompleteErasureResponse())

    def expect_erasure_of_address(self) -> None:
        """Expect that each service with addresses of its own erases an address."""
        of = self.expectations.of
        of(SessionServiceStub).given("a guest with this address", email=EMAIL).EraseAddress(
            request=session_pb2.EraseAddressRequest(email=EMAIL), answer=session_pb2.EraseAddressResponse()
        )
        of(AuthServiceStub).given("a failed log-in with this address", email=EMAIL).EraseAddress(
            request=auth_pb2.EraseAddressRequest(email=EMAIL), answer=auth_pb2.EraseAddressResponse()
        )
        of(SubscriptionServiceStub).given("a held webhook with this address", email=EMAIL).EraseAddress(
            request=subscription_pb2.EraseAddressRequest(email=EMAIL), answer=subscription_pb2.EraseAddressResponse()
        )
        of(CommunicationServiceStub).given("an unsent mail to this address", email=EMAIL).EraseAddress(
            request=communication_pb2.EraseAddressRequest(email=EMAIL),
            answer=communication_pb2.EraseAddressResponse(),
        )

    def expect_erasure(self, user: User) -> None:
        """Expect that each subscriber takes the event that the user is erased."""
        event, later = UserErased(user_id=user.user_id), self.expectations.later
        later(AuthServiceStub).given("a user with a password", user_id=user.user_id).OnUserErased(
            request=auth_pb2.OnUserErasedRequest(event=event), answer=auth_pb2.OnUserErasedResponse()
        )
        later(SessionServiceStub).given("a member with a booked session", user_id=user.user_id).OnUserErased(
            request=session_pb2.OnUserErasedRequest(event=event), answer=session_pb2.OnUserErasedResponse()
        )
        later(SubscriptionServiceStub).given("a subscriber", user_id=user.user_id).OnUserErased(
            request=subscription_pb2.OnUserErasedRequest(event=event), answer=subscription_pb2.OnUserErasedResponse()
        )
        later(PaymentServiceStub).given("a member with a refund", user_id=user.user_id).OnUserErased(
            request=payment_pb2.OnUserErasedRequest(event=event), answer=payment_pb2.OnUserErasedResponse()
        )
        later(CommunicationServiceStub).given("an unsent mail to this user", user_id=user.user_id).OnUserErased(
            request=communication_pb2.OnUserErasedRequest(event=event),
            answer=communication_pb2.OnUserErasedResponse(),
        )

    async def outbox(self) -> Sequence[tuple[str, str]]:
        """Return the methods and the statuses of the messages in the outbox."""
        query = "select substring(destination from '[^/]*$'), status from outbox order by sequence"
        async with self.mesh.database("user").connection() as connection:
            return [(row[0], row[1]) for row in await connection.fetch(query)]
