from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.scopes import all_scopes, scopes_of_caller
from interceptors.keys.keyring import mint_key, record_of_key
from local.keys import write_key
from mesh.config import Settings
from mesh.serving.key_uses import KeyUses
from mesh.serving.keyring_file import KeyringFile, format_keyring
from operations.keys import (
    InvalidKeyRequest,
    LastManagerKey,
    NewKey,
    NotAManager,
    UnknownKey,
    has_manager,
    issue_key,
    keys_of,
    require_manager,
    revoke_key,
    rotate_key,
)

if TYPE_CHECKING:
    from pathlib import Path

    from interceptors.keys.keyring import KeyRecord
    from operations.keys import KeyInfo

NOW = datetime.now(UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Make settings with a data folder that holds no keys yet."""
    return Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]  # pydantic-settings' own argument


def record(caller: str, *scopes: str, lasts: timedelta | None = None, begins: datetime = NOW) -> KeyRecord:
    """Return the record of a new key that ends after `lasts`."""
    made = record_of_key(mint_key("test"), caller, scopes, now=begins)
    return replace(made, not_after=None if lasts is None else NOW + lasts)


def write_keyring(settings: Settings, *records: KeyRecord) -> list[KeyInfo]:
    """Write a keyring and return its keys."""
    settings.keyring_path.write_text(format_keyring(records))
    return keys_of(settings)


def issued(settings: Settings, caller: str, *scopes: str) -> str:
    """Issue a key and return its id."""
    return issue_key(settings, caller, scopes).key_id


def test_keys_have_a_state_scopes_and_a_last_use(settings: Settings) -> None:
    """Each key is listed with its state, its needless scopes and its last use."""
    needed = sorted(scopes_of_caller("gym"))
    write_keyring(
        settings,
        record("gym", *needed, "user.write"),
        record("gym", "user.write", lasts=timedelta(seconds=-1)),
        record("later", begins=NOW + timedelta(days=1)),
    )
    key_id = keys_of(settings)[0].record.key_id
    KeyUses(settings.keyring_path).add({key_id: 1_700_000_000.0})

    gym, old, later = keys_of(settings)

    assert [gym.state, old.state, later.state] == ["valid", "expired", "not yet valid"]
    assert [gym.needless_scopes, old.needless_scopes] == [{"user.write"}, frozenset()]
    assert gym.last_used == datetime.fromtimestamp(1_700_000_000, UTC)
    assert gym.as_json()["needless_scopes"] == ["user.write"]
    revoke_key(settings, key_id)
    assert keys_of(settings)[0].state == "revoked"


@pytest.mark.parametrize(
    ("lasts", "expected"),
    [
        ([timedelta(days=6)], [True]),
        ([timedelta(days=8)], [False]),
        ([None], [False]),
        ([timedelta(hours=1), None], [False, False]),
        ([timedelta(hours=1), timedelta(days=2)], [True, True]),
        ([timedelta(seconds=-1)], [False]),
    ],
)
def test_a_key_expires_soon_if_its_caller_is_left_without_one(
    settings: Settings, lasts: list[timedelta | None], expected: list[bool]
) -> None:
    """A key that expires within a week is marked, unless the caller has a key that lasts longer."""
    found = write_keyring(settings, *(record("billing", lasts=each) for each in lasts))

    assert [key.expires_soon for key in found] == expected


def test_a_new_key_is_hidden_and_stored_nowhere(settings: Settings) -> None:
    """A new key is not in the keyring, nor in any text of the object that holds it."""
    new = issue_key(settings, "billing", ["gym.read"])
    key = new.key.get_secret_value()

    assert key not in repr(new) + str(new) + settings.keyring_path.read_text()
    assert new.file is None
    assert KeyringFile(settings.keyring_path).records()[0].key_id == new.key_id


def test_a_key_of_the_local_mesh_is_for_its_key_file(settings: Settings) -> None:
    """A new key of a service of the local mesh, or of a caller with a key file, is written to that file."""
    write_key(settings.key_path_of("gym"), "old")
    write_key(settings.key_path_of("billing"), "old")

    new = {caller: issue_key(settings, caller, ["gym.read"]) for caller in ("gym", "user", "billing", "other")}
    new["gym"].write()

    files = {caller: key.file for caller, key in new.items()}
    assert files == {**{caller: settings.key_path_of(caller) for caller in new}, "other": None}
    assert settings.key_path_of("gym").read_text().strip() == new["gym"].key.get_secret_value()


@pytest.mark.parametrize(
    ("caller", "scope", "field"),
    [("../gym", "gym.read", "caller"), ("", "gym.read", "caller"), ("x", "gym.raed", "scope")],
)
def test_an_impossible_key_is_not_issued(settings: Settings, caller: str, scope: str, field: str) -> None:
    """An unusable caller name or an unknown scope is rejected at its field, and no keyring is written."""
    with pytest.raises(InvalidKeyRequest) as caught:
        issue_key(settings, caller, [scope])

    assert caught.value.field == field
    assert not settings.keyring_path.exists()


@pytest.mark.parametrize(
    ("has", "gives", "is_allowed"),
    [
        (all_scopes(), frozenset(), True),
        (all_scopes(), {"gym.read"}, True),
        (all_scopes() - {"gym.read"}, frozenset(), False),
        (all_scopes() - {"gym.read"}, {"gym.read"}, False),
        (frozenset(), frozenset(), False),
        (all_scopes(), {"scope.of.an.older.contract"}, False),
    ],
)
def test_only_a_key_with_every_scope_manages_keys(
    has: frozenset[str], gives: frozenset[str], *, is_allowed: bool
) -> None:
    """A key manages keys if it has every scope, and never gives a scope that it lacks itself."""
    manager = record("anybody", *has)
    if is_allowed:
        require_manager(manager, gives)
        return
    missing = min((all_scopes() | gives) - has)
    with pytest.raises(NotAManager, match=rf"The key of anybody lacks {missing}"):
        require_manager(manager, gives)


def test_nobody_manages_keys_without_a_valid_key() -> None:
    """Without a valid key, the refusal says which key is needed."""
    with pytest.raises(NotAManager, match="valid key with every scope, such as the operator's"):
        require_manager(None)


def test_a_rotation_never_gives_a_scope_that_the_manager_lacks(settings: Settings) -> None:
    """A manager whose key lacks a scope of the rotated key is refused, and the keyring stays as it is."""
    write_keyring(settings, record("old", "scope.of.an.older.contract"))
    before = settings.keyring_path.read_text()

    with pytest.raises(NotAManager, match=r"lacks scope\.of\.an\.older\.contract"):
        rotate_key(settings, "old", timedelta(hours=1), manager=record("operator", *all_scopes()))

    assert settings.keyring_path.read_text() == before
    assert isinstance(rotate_key(settings, "old", timedelta(hours=1)), NewKey)


def test_unknown_keys_are_reported(settings: Settings) -> None:
    """A rotation of a caller without a key and a revocation of an unknown id fail with the command that helps."""
    with pytest.raises(UnknownKey, match="solo60 keys issue gym"):
        rotate_key(settings, "gym", timedelta(hours=1))
    with pytest.raises(UnknownKey, match="solo60 keys list"):
        revoke_key(settings, "nothing")


def test_the_last_key_with_every_scope_is_spared(settings: Settings) -> None:
    """Of several valid keys with every scope, all but one can be revoked. Other keys do not count."""
    first, second = (issued(settings, "operator", *all_scopes()) for _ in range(2))
    other = issued(settings, "gym", "gym.read")

    revoke_key(settings, first, spare_last_manager=True)
    with pytest.raises(LastManagerKey, match=f"{second} is the last valid key with every scope"):
        revoke_key(settings, second, spare_last_manager=True)
    revoke_key(settings, other, spare_last_manager=True)
    assert has_manager(keys_of(settings))

    revoke_key(settings, second)
    assert not has_manager(keys_of(settings))


def test_managers_who_revoke_each_other_at_once_leave_one_key(settings: Settings) -> None:
    """Of concurrent revocations of all keys with every scope, exactly one is refused."""
    ids = [issued(settings, "operator", *all_scopes()) for _ in range(8)]

    def revoke(key_id: str) -> bool:
        try:
            revoke_key(settings, key_id, spare_last_manager=True)
        except LastManagerKey:
            return False
        return True

    with ThreadPoolExecutor(len(ids)) as pool:
        revoked = list(pool.map(revoke, ids))

    assert revoked.count(False) == 1
    assert [key.state for key in keys_of(settings)].count("valid") == 1


def test_concurrent_changes_are_all_kept(settings: Settings) -> None:
    """Keys that are issued, rotated and revoked at the same time are all in the keyring afterwards."""
    victims = [issued(settings, f"victim{n}", "gym.read") for n in range(8)]

    def change(n: int) -> None:
        issue_key(settings, f"issued{n}", ["gym.read"])
        rotate_key(settings, f"issued{n}", timedelta(hours=1))
        revoke_key(settings, victims[n])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(8)))

    states = [(key.record.caller, key.state) for key in keys_of(settings)]
    assert sorted(states) == sorted(
        [(f"victim{n}", "revoked") for n in range(8)] + [(f"issued{n}", "valid") for n in range(8)] * 2
    )
