"""Lookups in the user service, which owns all user data except passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import EmailTaken, IdempotencyKeyReused, UserErased, UserNotActive, UserNotFound
from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.user.v1.user_pb2 import (
    CreateUserRequest,
    GetUserByEmailRequest,
    GetUserRequest,
    Role,
    UpdateUserRequest,
    User,
    UserState,
)

if TYPE_CHECKING:
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


class UserDirectory:
    """The users of the user service. Each method raises a ServiceError if that service does not answer."""

    def __init__(self, users: UserServiceAsyncStub) -> None:
        self._users = users

    async def create(self, email: str, display_name: str, idempotency_key: str) -> UUID:
        """Create a user and return the id, the same for each call with this key.

        Raises EmailTaken, or IdempotencyKeyReused if the key came with another address or name before.
        """
        request = CreateUserRequest(email=email, display_name=display_name)
        try:
            answer = await self._users.CreateUser(request, metadata=((IDEMPOTENCY_KEY, idempotency_key),))
        except IdempotencyKeyReused as error:
            # Our caller reused its key. An error of a callee would reach the caller as INTERNAL.
            raise IdempotencyKeyReused from error
        return id_of(answer.user)

    async def find(self, user_id: UUID) -> User | None:
        """Return the user; None if the id is unknown or the user has left."""
        try:
            answer = await self._users.GetUser(GetUserRequest(user_id=str(user_id)))
        except UserNotFound:
            return None
        return None if answer.user.state == UserState.USER_STATE_DELETED else answer.user

    async def find_by_email(self, email: str) -> User | None:
        """Return the active or suspended user with this address, in any spelling; None if there is none."""
        try:
            answer = await self._users.GetUserByEmail(GetUserByEmailRequest(email=email))
        except UserNotFound:
            return None
        return answer.user

    async def require_active(self, user_id: UUID) -> None:
        """Raise UserNotFound if the user is unknown, or UserNotActive if the user is suspended or has left."""
        answer = await self._users.GetUser(GetUserRequest(user_id=str(user_id)))
        if not is_active(answer.user):
            raise UserNotActive

    async def confirm_email(self, user: User) -> bool:
        """Mark the address of `user` as confirmed; return False if the user has lost it in the meantime.

        The call also writes the address, so that a concurrent change cannot get confirmed.
        """
        confirmed = User(user_id=user.user_id, email=user.email, email_confirmed=True)
        mask = FieldMask(paths=["email", "email_confirmed"])
        try:
            await self._users.UpdateUser(UpdateUserRequest(user=confirmed, update_mask=mask))
        except (EmailTaken, UserErased, UserNotFound):
            return False
        return True


def id_of(user: User) -> UUID:
    """Return the id of a user."""
    return UUID(user.user_id)


def is_active(user: User) -> bool:
    """Return whether a user is neither suspended nor deleted."""
    return user.state == UserState.USER_STATE_ACTIVE


def role_names_of(user: User) -> tuple[str, ...]:
    """Return the roles of a user for a token, such as "ADMIN"."""
    return tuple(sorted(Role.Name(role).removeprefix("ROLE_") for role in user.roles))
