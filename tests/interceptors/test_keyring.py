from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptors.keyring import ALPHABET, Keyring, hash_of_key, id_of_key, mint_key, record_of_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = mint_key("test")
environments = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=16)


@given(environments)
def test_every_key_that_is_minted_is_well_formed(environment: str) -> None:
    """A key names its environment, and its owner finds it again by its id."""
    key = mint_key(environment)

    assert key.startswith(f"sk_{environment}_")
    assert id_of_key(key) == key.split("_")[2]


@given(st.data())
def test_no_single_typo_is_a_well_formed_key(data: st.DataObject) -> None:
    """The checksum refuses every slip of one character, without a look-up."""
    index = data.draw(st.integers(0, len(KEY) - 1))
    typo = data.draw(st.sampled_from(ALPHABET + "_- ").filter(lambda character: character != KEY[index]))

    assert id_of_key(KEY[:index] + typo + KEY[index + 1 :]) is None


@given(st.data())
def test_a_key_that_lost_or_won_a_character_is_none(data: st.DataObject) -> None:
    """Likewise what was cut or doubled when it was copied."""
    index = data.draw(st.integers(0, len(KEY) - 1))

    assert id_of_key(KEY[:index] + KEY[index + 1 :]) is None
    assert id_of_key(KEY[:index] + data.draw(st.sampled_from(ALPHABET)) + KEY[index:]) is None


@given(st.text(max_size=80))
def test_any_text_can_be_looked_up(text: str) -> None:
    """What a stranger sends never raises, and never opens."""
    assert Keyring([record_of_key(KEY, "session", [], now=NOW)]).find(text, NOW) is None


def test_two_keys_are_never_the_same() -> None:
    """Keys are random."""
    assert len({mint_key("test") for _ in range(100)}) == 100


@pytest.mark.parametrize(("after", "valid"), [(-1, False), (0, True), (59, True), (60, False)])
def test_a_key_is_valid_from_its_start_until_just_before_its_end(after: int, valid: bool) -> None:  # noqa: FBT001 - a test's parameter
    """Two keys that follow each other never leave a gap, and never overlap by an instant."""
    record = record_of_key(KEY, "session", ["gym.read"], now=NOW)
    ending = type(record)(record.key_id, record.caller, record.sha256, record.scopes, NOW, NOW + timedelta(seconds=60))

    found = Keyring([ending]).find(KEY, NOW + timedelta(seconds=after))

    assert (found is ending) == valid


def test_a_record_never_holds_the_key() -> None:
    """Whoever reads the keyring cannot call with it."""
    record = record_of_key(KEY, "session", ["gym.read"], now=NOW)

    assert KEY not in repr(record)
    assert KEY.split("_")[3] not in repr(record)
    assert record.sha256 == hash_of_key(KEY)


def test_only_a_well_formed_key_gets_a_record() -> None:
    """A typo is noticed where the record is made, not by a failing call."""
    with pytest.raises(ValueError, match="not a well-formed key"):
        record_of_key("sk_test_typo", "session", [])
