"""Domain of the user service: users, their roles and states, and the rules for changing a profile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import UserErased, UserNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID


class Role(StrEnum):
    """Role of a user. The values match the contract."""

    MEMBER = "ROLE_MEMBER"
    ADMIN = "ROLE_ADMIN"
    OWNER = "ROLE_OWNER"


class State(StrEnum):
    """State of an account. The values match the contract."""

    ACTIVE = "USER_STATE_ACTIVE"
    SUSPENDED = "USER_STATE_SUSPENDED"
    DELETED = "USER_STATE_DELETED"


DEFAULT_ROLES = frozenset({Role.MEMBER})
DEFAULT_TIME_ZONE = "UTC"


@dataclass(frozen=True, slots=True)
class Profile:
    """Changeable data of a user."""

    email: str
    display_name: str
    roles: frozenset[Role]
    time_zone: str
    state: State = State.ACTIVE
    email_confirmed: bool = False

    def with_changes(self, changes: Changes) -> Profile:
        """Return the changed profile. A new address is unconfirmed unless `changes` confirms it."""
        changed = Profile(
            email=self.email if changes.email is None else changes.email,
            display_name=self.display_name if changes.display_name is None else changes.display_name,
            roles=self.roles if changes.roles is None else changes.roles,
            time_zone=self.time_zone if changes.time_zone is None else changes.time_zone,
            state=self.state if changes.state is None else changes.state,
        )
        same_mailbox = changed.email.casefold() == self.email.casefold()
        is_confirmed = self.email_confirmed and same_mailbox
        return replace(
            changed, email_confirmed=is_confirmed if changes.email_confirmed is None else changes.email_confirmed
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """New values for fields of a profile. None leaves a field unchanged."""

    email: str | None = None
    display_name: str | None = None
    roles: frozenset[Role] | None = None
    time_zone: str | None = None
    state: State | None = None
    email_confirmed: bool | None = None


@dataclass(frozen=True, slots=True)
class User:
    """User account: id, profile and times in UTC. `erase_time` is the time when an erasure was requested."""

    user_id: UUID
    profile: Profile
    create_time: datetime
    update_time: datetime
    erase_time: datetime | None = None

    @property
    def is_active(self) -> bool:
        """Whether the user is active."""
        return self.profile.state is State.ACTIVE

    @property
    def has_left(self) -> bool:
        """Whether the user has left permanently."""
        return self.profile.state is State.DELETED

    @property
    def has_personal_data(self) -> bool:
        """Whether the user still has an address, which an erasure removes last."""
        return bool(self.profile.email)

    def with_changes(self, changes: Changes, now: datetime) -> User:
        """Return the changed user. `update_time` becomes `now` only if a field differs.

        Raises UserErased if an erasure was requested.
        """
        if self.erase_time is not None:
            raise UserErased
        profile = self.profile.with_changes(changes)
        return self if profile == self.profile else replace(self, profile=profile, update_time=now)

    def leaving_to_be_erased(self, now: datetime) -> User:
        """Return the user as departed, with the time of the first request for erasure."""
        if self.erase_time is not None:
            return self
        profile = replace(self.profile, state=State.DELETED)
        return replace(self, profile=profile, update_time=now, erase_time=now)

    def erased(self, now: datetime) -> User:
        """Return the user without personal data: only the id, the roles and the times are left."""
        profile = Profile(
            email="", display_name="", roles=self.profile.roles, time_zone=DEFAULT_TIME_ZONE, state=State.DELETED
        )
        return replace(self, profile=profile, update_time=now)

    def missing_roles(self, requested: Iterable[Role]) -> list[Role]:
        """Return the requested roles that the user lacks, in the requested order."""
        return [role for role in requested if role not in self.profile.roles]

    def has_any(self, roles: Iterable[Role]) -> bool:
        """Return whether the user is active and has at least one of the roles."""
        return self.is_active and not self.profile.roles.isdisjoint(roles)

    def has_all(self, roles: Iterable[Role]) -> bool:
        """Return whether the user is active and has all of the roles."""
        return self.is_active and self.profile.roles.issuperset(roles)


def found(user: User | None) -> User:
    """Return the user; raise UserNotFound if there is none."""
    if user is None:
        raise UserNotFound
    return user
