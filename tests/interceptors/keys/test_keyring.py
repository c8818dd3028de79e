from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptors.keys.keyring import ALPHABET, Keyring, hash_of_key, id_of_key, mint_key, record_of_key

if TYPE_CHECKING:
    from interceptors.keys.keyring import KeyRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = mint_key("test")
environments = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=16)


@given(environments)
def test_a_minted_key_is_well_formed(environment: str) -> None:
    """A minted key contains its environment and its id and is well-formed."""
    key = mint_key(environment)

    assert key.startswith(f"sk_{environment}_")
    assert id_of_key(key) == key.split("_")[2]


@given(st.data())
def test_no_single_typo_is_a_well_formed_key(data: st.DataObject) -> None:
    """Changing any single character makes a key malformed, because of its checksum."""
    index = data.draw(st.integers(0, len(KEY) - 1))
    typo = data.draw(st.sampled_from(ALPHABET + "_- ").filter(lambda character: character != KEY[index]))

    assert id_of_key(KEY[:index] + typo + KEY[index + 1 :]) is None


@given(st.data())
def test_a_lost_or_added_character_makes_a_key_malformed(data: st.DataObject) -> None:
    """Removing or inserting a single character makes a key malformed."""
    index = data.draw(st.integers(0, len(KEY) - 1))

    assert id_of_key(KEY[:index] + KEY[index + 1 :]) is None
    assert id_of_key(KEY[:index] + data.draw(st.sampled_from(ALPHABET)) + KEY[index:]) is None


@given(st.text(max_size=80))
def test_any_text_can_be_looked_up(text: str) -> None:
    """Looking up an arbitrary text finds no key and raises no error."""
    assert Keyring([record_of_key(KEY, "session", [], now=NOW)]).find(text, NOW) is None


def test_minted_keys_are_unique() -> None:
    """A hundred minted keys are all different."""
    assert len({mint_key("test") for _ in range(100)}) == 100


@pytest.mark.parametrize(("after", "valid"), [(-1, False), (0, True), (59, True), (60, False)])
def test_a_key_is_valid_from_its_start_until_just_before_its_end(after: int, valid: bool) -> None:  # noqa: FBT001 - expected value
    """A key is valid from its start until just before its end.

    Consecutive keys neither overlap nor leave a gap.
    """
    record = record_of_key(KEY, "session", ["gym.read"], now=NOW)
    ending = type(record)(record.key_id, record.caller, record.sha256, record.scopes, NOW, NOW + timedelta(seconds=60))

    found = Keyring([ending]).find(KEY, NOW + timedelta(seconds=after))

    assert (found is ending) == valid


def test_a_record_never_holds_the_key() -> None:
    """A key's record contains its hash, but neither the key nor its secret."""
    record = record_of_key(KEY, "session", ["gym.read"], now=NOW)

    assert KEY not in repr(record)
    assert KEY.split("_")[3] not in repr(record)
    assert record.sha256 == hash_of_key(KEY)


def test_a_malformed_key_gets_no_record() -> None:
    """Making a record of a malformed key raises ValueError, so that a typo is found early."""
    with pytest.raises(ValueError, match="not a well-formed key"):
        record_of_key("sk_test_typo", "session", [])


instants = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@given(instants, st.none() | instants, st.booleans(), st.lists(instants, min_size=1))
def test_a_cached_key_is_valid_exactly_when_a_look_up_finds_it(
    not_before: datetime,
    not_after: datetime | None,
    revoked: bool,  # noqa: FBT001 - a test's parameter
    times: list[datetime],
) -> None:
    """A cached key is recalled only while its record is valid, like a key that is looked up by its hash."""
    record = replace(record_of_key(KEY, "session", [], now=not_before), not_after=not_after, revoked=revoked)
    keyring = Keyring([record])

    for now in times:
        cached = keyring.cached(KEY, now.timestamp())
        found = keyring.look_up(KEY, now.timestamp())
        assert cached in (None, found)
        assert (found is not None) == record.is_valid(now)
        assert keyring.cached(KEY, now.timestamp()) is found


def test_only_found_keys_are_cached() -> None:
    """Unknown keys are not cached, so that a flood of them uses no memory."""
    keyring = Keyring([record_of_key(KEY, "session", [], now=NOW)])
    now_s = NOW.timestamp()

    assert keyring.cached(KEY, now_s) is None
    assert all(keyring.look_up(mint_key("test"), now_s) is None for _ in range(100))
    assert keyring.look_up(KEY, now_s) is keyring.cached(KEY, now_s)
    assert len(keyring._active) == 1


def test_a_new_keyring_takes_over_only_its_own_keys() -> None:
    """A new keyring takes over cached keys that it accepts itself, with its own records.

    A revoked key is not taken over.
    """
    valid_key = mint_key("test")
    records = [record_of_key(KEY, "session", [], now=NOW), record_of_key(valid_key, "gym", ["gym.read"], now=NOW)]
    old, now_s = Keyring(records), NOW.timestamp()
    for key in (KEY, valid_key):
        assert old.look_up(key, now_s)

    new = Keyring([replace(records[0], revoked=True), replace(records[1], scopes=frozenset())])
    new.warm_from(old, now_s)

    assert new.cached(KEY, now_s) is None
    entry = new.cached(valid_key, now_s)
    assert entry is not None
    assert entry.record.scopes == frozenset()


def test_a_key_is_superseded_by_a_later_valid_key_of_its_caller() -> None:
    """A key is superseded by a later key of the same caller, unless that key is revoked, expired or not yet valid."""
    later = NOW + timedelta(hours=1)
    new = record_of_key(mint_key("test"), "session", [], now=later)

    def superseded(*others: KeyRecord, at: datetime = later) -> bool:
        entry = Keyring([record_of_key(KEY, "session", [], now=NOW), *others]).look_up(KEY, at.timestamp())
        assert entry is not None
        return entry.is_superseded(at.timestamp())

    assert superseded(new)
    assert not superseded(new, at=NOW)
    assert not superseded()
    assert not superseded(replace(new, caller="gym"))
    assert not superseded(replace(new, revoked=True))
    assert not superseded(replace(new, not_after=later))
    assert not superseded(replace(new, not_before=NOW))


def test_id_claimed_by_returns_known_ids_only() -> None:
    """id_claimed_by() returns the id of a key in the keyring, and an empty text for any other text."""
    keyring = Keyring([record_of_key(KEY, "session", [], now=NOW)])

    assert keyring.id_claimed_by(KEY) == id_of_key(KEY)
    for text in ("", "x" * 100, KEY[1:-1], mint_key("test")):
        assert keyring.id_claimed_by(text) == ""
