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
def test_what_is_not_named_stays_as_it_is(changes: Changes) -> None:
    """AIP-134: a change touches the fields it names, and email_confirmed when the address is another."""
    after = ADA.profile.with_changes(changes)

    for field in fields(Changes):
        wanted = getattr(changes, field.name)
        if wanted is not None:
            assert getattr(after, field.name) == wanted
        elif field.name != "email_confirmed":
            assert getattr(after, field.name) == getattr(PROFILE, field.name)


@given(some_changes)
def test_a_change_made_twice_is_a_change_made_once(changes: Changes) -> None:
    """UpdateUser is IDEMPOTENT: a retry changes nothing more, not even the time of the change."""
    once = ADA.with_changes(changes, LATER)

    assert once.with_changes(changes, LATER + timedelta(days=1)) == once


def test_a_new_address_is_unconfirmed() -> None:
    """A change of `email` takes email_confirmed back: the user has shown nothing about the new address."""
    assert not PROFILE.with_changes(Changes(email="grace@example.org")).email_confirmed


def test_the_same_address_in_other_letters_stays_confirmed() -> None:
    """Addresses are equal without regard to case."""
    after = PROFILE.with_changes(Changes(email="ADA@example.org"))

    assert (after.email, after.email_confirmed) == ("ADA@example.org", True)


def test_an_address_may_be_changed_and_confirmed_at_once() -> None:
    """What the change names, it decides."""
    assert PROFILE.with_changes(Changes(email="grace@example.org", email_confirmed=True)).email_confirmed


def test_the_time_of_the_last_change_is_that_of_a_real_one() -> None:
    """update_time moves when a field differs afterwards, and create_time never."""
    assert ADA.with_changes(Changes(display_name="Ada"), LATER) == ADA
    changed = ADA.with_changes(Changes(display_name="Countess"), LATER)
    assert (changed.create_time, changed.update_time) == (CREATED, LATER)


@pytest.mark.parametrize("state", [State.SUSPENDED, State.DELETED])
def test_who_is_not_active_may_do_nothing(state: State) -> None:
    """Nobody but an active user is allowed anything, whatever the roles."""
    barred = replace(ADA, profile=replace(PROFILE, state=state))

    assert ADA.has_any([Role.OWNER])
    assert ADA.has_all([Role.OWNER])
    assert not barred.has_any([Role.OWNER])
    assert not barred.has_all([Role.OWNER])


def test_one_role_or_all_of_them() -> None:
    """One of the roles is enough for any; all needs every one."""
    asked_for = [Role.ADMIN, Role.OWNER]

    assert ADA.has_any(asked_for)
    assert not ADA.has_all(asked_for)
    assert not ADA.has_any([Role.ADMIN])
    assert ADA.missing_roles(asked_for) == [Role.ADMIN]
