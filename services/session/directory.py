"""Checks of members and quotes of gyms, by calls to the user and gym services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import UserNotActive, UserNotFound
from services.session.wire import parse_quote, render_period
from solo60.gym.v1.gym_pb2 import QuotePriceRequest
from solo60.user.v1.user_pb2 import UserState, ValidateUserRequest

if TYPE_CHECKING:
    from uuid import UUID

    from services.session.sessions.domain import Period, Quote
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


class Directory:
    """Checks of members and quotes of gyms from the services that own them."""

    def __init__(self, users: UserServiceAsyncStub, gyms: GymServiceAsyncStub) -> None:
        self._users = users
        self._gyms = gyms

    async def require_active_user(self, user_id: UUID) -> None:
        """Raise UserNotFound if there is no such user, UserNotActive if the user is suspended or deleted."""
        response = await self._users.ValidateUser(ValidateUserRequest(user_id=str(user_id)))
        if response.state == UserState.USER_STATE_UNSPECIFIED:
            raise UserNotFound
        if not response.valid:
            raise UserNotActive

    async def quote(self, gym_id: UUID, period: Period) -> Quote:
        """Return the price and the rules of a period in a gym; raise GymNotFound or GymClosed."""
        request = QuotePriceRequest(gym_id=str(gym_id), period=render_period(period))
        response = await self._gyms.QuotePrice(request)
        return parse_quote(response.quote)
