"""Requests to the user service with default values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from solo60.user.v1.user_pb2 import (
    CreateUserRequest,
    GetUserRequest,
    UpdateUserRequest,
    User,
)

if TYPE_CHECKING:
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


def create_request(email: str = "Ada@example.org", **fields: Any) -> CreateUserRequest:
    """Return a request to create a user called Ada."""
    return CreateUserRequest(**{"email": email, "display_name": "Ada", **fields})


async def add_user(users: UserServiceAsyncStub, email: str = "Ada@example.org", **fields: Any) -> User:
    """Add a user and return it."""
    return (await users.CreateUser(create_request(email, **fields))).user


def update_request(user: User, *mask: str, **fields: Any) -> UpdateUserRequest:
    """Return a request to change the fields in the mask, by default all given fields."""
    return UpdateUserRequest(
        user=User(user_id=user.user_id, **fields), update_mask=FieldMask(paths=mask or tuple(fields))
    )


async def update_user(users: UserServiceAsyncStub, user: User, *mask: str, **fields: Any) -> User:
    """Change a user and return it."""
    return (await users.UpdateUser(update_request(user, *mask, **fields))).user


async def get_user(users: UserServiceAsyncStub, user: User) -> User:
    """Return a user as stored now."""
    return (await users.GetUser(GetUserRequest(user_id=user.user_id))).user
