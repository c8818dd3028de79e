"""The directory: which members may act and which gyms there are, as the services say that know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import UserNotActive, UserNotFound
from solo60.gym.v1.gym_pb2 import GetGymRequest
from solo60.user.v1.user_pb2 import UserState, ValidateUserRequest

if TYPE_CHECKING:
    from uuid import UUID

    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


class Directory:
    """Asks the other services."""

    def __init__(self, users: UserServiceAsyncStub, gyms: GymServiceAsyncStub) -> None:
        self._users = users
        self._gyms = gyms

    async def require_active_user(self, user_id: UUID) -> None:
        """Raise UserNotFound or UserNotActive unless a user may act."""
        response = await self._users.ValidateUser(ValidateUserRequest(user_id=str(user_id)))
        if response.state == UserState.USER_STATE_UNSPECIFIED:
            raise UserNotFound
        if not response.valid:
            raise UserNotActive

    async def require_gym(self, gym_id: UUID) -> None:
        """Raise GymNotFound unless there is such a gym."""
        await self._gyms.GetGym(GetGymRequest(gym_id=str(gym_id)))
