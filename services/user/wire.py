"""Conversion between protobuf messages and the domain of the user service.

`parse_` functions return domain values, `render_` functions return messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.mail_address import canonical, readable
from mesh.data.etags import etag_of
from mesh.serving.request_rules import require, time_zone_known
from services.user import domain
from services.user.search import UserFilter
from solo60.user.v1 import user_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from solo60.user.v1.user_pb2 import CreateUserRequest, SearchUsersRequest, UpdateUserRequest, User


def parse_profile(request: CreateUserRequest) -> domain.Profile:
    """Return the profile of a new user; raise InvalidRequest for an unknown time zone."""
    time_zone = request.time_zone or domain.DEFAULT_TIME_ZONE
    require(time_zone_known("time_zone", time_zone))
    return domain.Profile(
        email=canonical(request.email),
        display_name=request.display_name,
        roles=frozenset(parse_roles(request.roles)) or domain.DEFAULT_ROLES,
        time_zone=time_zone,
    )


def parse_changes(request: UpdateUserRequest) -> domain.Changes:
    """Return the new values of the fields in the update mask; raise InvalidRequest for an unknown time zone."""
    user, named = request.user, set(request.update_mask.paths)
    require(time_zone_known("user.time_zone", user.time_zone) if "time_zone" in named else None)
    return domain.Changes(
        email=canonical(user.email) if "email" in named else None,
        display_name=user.display_name if "display_name" in named else None,
        roles=frozenset(parse_roles(user.roles)) if "roles" in named else None,
        time_zone=user.time_zone if "time_zone" in named else None,
        state=domain.State(user_pb2.UserState.Name(user.state)) if "state" in named else None,
        email_confirmed=user.email_confirmed if "email_confirmed" in named else None,
    )


def parse_filter(request: SearchUsersRequest) -> UserFilter:
    """Return the filter of a search."""
    return UserFilter(
        query=request.query,
        role=domain.Role(user_pb2.Role.Name(request.role)) if request.role else None,
        state=domain.State(user_pb2.UserState.Name(request.state)) if request.state else None,
    )


def parse_roles(roles: Iterable[user_pb2.Role.ValueType]) -> list[domain.Role]:
    """Convert protobuf values to roles."""
    return [domain.Role(user_pb2.Role.Name(role)) for role in roles]


def render_roles(roles: Iterable[domain.Role]) -> list[user_pb2.Role.ValueType]:
    """Convert roles to protobuf values."""
    return [user_pb2.Role.Value(role) for role in roles]


def render_state(state: domain.State) -> user_pb2.UserState.ValueType:
    """Convert a state to its protobuf value."""
    return user_pb2.UserState.Value(state)


def render_user(user: domain.User) -> User:
    """Convert a user to its protobuf message."""
    profile = user.profile
    message = user_pb2.User(
        user_id=str(user.user_id),
        email=readable(profile.email),
        display_name=profile.display_name,
        roles=render_roles(sorted(profile.roles)),
        state=render_state(profile.state),
        email_confirmed=profile.email_confirmed,
        time_zone=profile.time_zone,
    )
    message.create_time.FromDatetime(user.create_time)
    message.update_time.FromDatetime(user.update_time)
    if user.erase_time is not None:
        message.erase_time.FromDatetime(user.erase_time)
    message.etag = etag_of(message)
    return message
