"""Relations of a session that other services own: user, gym and payments."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from solo60.gym.v1.gym_pb2 import GetGymRequest
from solo60.payment.v1.payment_pb2 import ListSessionPaymentsRequest
from solo60.session.v1.session_pb2 import GetSessionResponse, SessionRelation
from solo60.user.v1.user_pb2 import GetUserRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from solo60.session.v1.session_pb2 import Session
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


class Relations:
    """Reader of relations from the user, gym and payment services."""

    def __init__(
        self, users: UserServiceAsyncStub, gyms: GymServiceAsyncStub, payments: PaymentServiceAsyncStub
    ) -> None:
        self._users = users
        self._gyms = gyms
        self._payments = payments

    async def of(self, session: Session, include: Iterable[SessionRelation.ValueType]) -> GetSessionResponse:
        """Return a session with the relations in `include`; raise ServiceError if one of them cannot be read."""
        response = GetSessionResponse(session=session)
        add = {
            SessionRelation.SESSION_RELATION_USER: self._add_user,
            SessionRelation.SESSION_RELATION_GYM: self._add_gym,
            SessionRelation.SESSION_RELATION_PAYMENTS: self._add_payments,
        }
        await asyncio.gather(*[add[relation](response) for relation in include])
        return response

    async def _add_user(self, response: GetSessionResponse) -> None:
        found = await self._users.GetUser(GetUserRequest(user_id=response.session.user_id))
        response.user.CopyFrom(found.user)

    async def _add_gym(self, response: GetSessionResponse) -> None:
        found = await self._gyms.GetGym(GetGymRequest(gym_id=response.session.gym_id))
        response.gym.CopyFrom(found.gym)

    async def _add_payments(self, response: GetSessionResponse) -> None:
        request = ListSessionPaymentsRequest(session_id=response.session.session_id)
        while True:
            found = await self._payments.ListSessionPayments(request)
            response.payments.extend(found.payments)
            if not found.next_page_token:
                return
            request.page_token = found.next_page_token
