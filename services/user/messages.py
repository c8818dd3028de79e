"""User messages: what the contract says, as the domain has it, and the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.mail_address import canonical, readable
from mesh.request_rules import require, time_zone_known
from services.user import domain
from solo60.user.v1 import user_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from solo60.user.v1.user_pb2 import CreateUserRequest, UpdateUserRequest, User


def profile_of(request: CreateUserRequest) -> domain.Profile:
    """Return what a request says about a new user; raise InvalidRequest where no user can be like that."""
    time_zone = request.time_zone or domain.DEFAULT_TIME_ZONE
    require(time_zone_known("time_zone", time_zone))
    return domain.Profile(
        email=canonical(request.email),
        display_name=request.display_name,
        roles=frozenset(roles_of(request.roles)) or domain.DEFAULT_ROLES,
        time_zone=time_zone,
    )


def changes_of(request: UpdateUserRequest) -> domain.Changes:
    """Return the new values of the fields that the mask names; raise InvalidRequest where no user can have them."""
    user, named = request.user, set(request.update_mask.paths)
    require(time_zone_known("user.time_zone", user.time_zone) if "time_zone" in named else None)
    return domain.Changes(
        email=canonical(user.email) if "email" in named else None,
        display_name=user.display_name if "display_name" in named else None,
        roles=frozenset(roles_of(user.roles)) if "roles" in named else None,
        time_zone=user.time_zone if "time_zone" in named else None,
        state=domain.State(user_pb2.UserState.Name(user.state)) if "state" in named else None,
        email_confirmed=user.email_confirmed if "email_confirmed" in named else None,
    )


def roles_of(roles: Iterable[user_pb2.Role.ValueType]) -> list[domain.Role]:
    """Return roles of the contract as the domain has them."""
    return [domain.Role(user_pb2.Role.Name(role)) for role in roles]


def role_values(roles: Iterable[domain.Role]) -> list[user_pb2.Role.ValueType]:
    """Return roles of the domain as the contract has them."""
    return [user_pb2.Role.Value(role) for role in roles]


def state_value(state: domain.State) -> user_pb2.UserState.ValueType:
    """Return a state of the domain as the contract has it."""
    return user_pb2.UserState.Value(state)


def user_message(user: domain.User) -> User:
    """Return a user as the contract has it."""
    profile = user.profile
    message = user_pb2.User(
        user_id=str(user.user_id),
        email=readable(profile.email),
        display_name=profile.display_name,
        roles=role_values(sorted(profile.roles)),
        state=state_value(profile.state),
        email_confirmed=profile.email_confirmed,
        time_zone=profile.time_zone,
    )
    message.create_time.FromDatetime(user.create_time)
    message.update_time.FromDatetime(user.update_time)
    return message
