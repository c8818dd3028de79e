from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.user.domain import Changes, Profile, Role, State, User

CREATED = datetime(2026, 1, 14, 12, tzinfo=UTC)
LATER = CREATED + timedelta(days=1)
PROFILE = Profile(
    email="Ada@example.org",
    display_name="Ada",
    roles=frozenset({Role.MEMBER, Role.OWNER}),
    time_zone="Europe/London",
    email_confirmed=True,
)
ADA = User(UUID(int=1), PROFILE, CREATED, CREATED)

some_changes = st.builds(
    Changes,
    email=st.none() | st.sampled_from(["Ada@example.org", "ada@EXAMPLE.org", "grace@example.org"]),
    display_name=st.none() | st.text(min_size=1, max_size=5),
    roles=st.none() | st.frozensets(st.sampled_from(Role), min_size=1),
    time_zone=st.none() | st.sampled_from(["UTC", "Asia/Tokyo"]),
    state=st.none() | st.sampled_from(State),
    email_confirmed=st.none() | st.booleans(),
)


@given(some_changes)
def test_fields_not_named_stay_unchanged(changes: Changes) -> None:
    """A change sets exactly the fields that it names, and resets `email_confirmed` with a new address (AIP-134)."""
    after = ADA.profile.with_changes(changes)

    for field in fields(Changes):
        wanted = getattr(changes, field.name)
        if wanted is not None:
            assert getattr(after, field.name) == wanted
        elif field.name != "email_confirmed":
            assert getattr(after, field.name) == getattr(PROFILE, field.name)


@given(some_changes)
def test_a_repeated_change_has_no_further_effect(changes: Changes) -> None:
    """Applying a change twice equals applying it once, including the time of the change."""
    once = ADA.with_changes(changes, LATER)

    assert once.with_changes(changes, LATER + timedelta(days=1)) == once


def test_a_new_address_is_unconfirmed() -> None:
    """Changing the address resets `email_confirmed`."""
    assert not PROFILE.with_changes(Changes(email="grace@example.org")).email_confirmed


def test_the_same_address_in_other_case_stays_confirmed() -> None:
    """Changing only the case of an address leaves it confirmed."""
    after = PROFILE.with_changes(Changes(email="ADA@example.org"))

    assert (after.email, after.email_confirmed) == ("ADA@example.org", True)


def test_an_address_can_be_changed_and_confirmed_at_once() -> None:
    """A change may set a new address and confirm it at the same time."""
    assert PROFILE.with_changes(Changes(email="grace@example.org", email_confirmed=True)).email_confirmed


def test_update_time_changes_only_with_a_field() -> None:
    """`update_time` changes only if a field differs afterwards, and `create_time` never changes."""
    assert ADA.with_changes(Changes(display_name="Ada"), LATER) == ADA
    changed = ADA.with_changes(Changes(display_name="Countess"), LATER)
    assert (changed.create_time, changed.update_time) == (CREATED, LATER)


@pytest.mark.parametrize("state", [State.SUSPENDED, State.DELETED])
def test_an_inactive_user_has_no_roles(state: State) -> None:
    """A suspended or deleted user fails every role check."""
    barred = replace(ADA, profile=replace(PROFILE, state=state))

    assert ADA.has_any([Role.OWNER])
    assert ADA.has_all([Role.OWNER])
    assert not barred.has_any([Role.OWNER])
    assert not barred.has_all([Role.OWNER])


def test_any_requires_one_role_and_all_requires_each() -> None:
    """One matching role is enough for `has_any`, while `has_all` requires every role."""
    requested = [Role.ADMIN, Role.OWNER]

    assert ADA.has_any(requested)
    assert not ADA.has_all(requested)
    assert not ADA.has_any([Role.ADMIN])
    assert ADA.missing_roles(requested) == [Role.ADMIN]
