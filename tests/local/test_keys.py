from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.scopes import all_scopes, scopes_of_caller
from contracts.services import SERVICE_NAMES
from interceptors.keys.keyring import Keyring
from local.keys import OPERATOR, ensure_local_keys, write_key
from mesh.clock import write_offset
from mesh.config import Settings, SettingsError
from mesh.serving.keyring_file import KeyringFile

if TYPE_CHECKING:
    from pathlib import Path

    from interceptors.keys.keyring import KeyRecord


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Make settings with a data folder that holds no keys yet."""
    return Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]  # pydantic-settings' own argument


def key_of(settings: Settings, caller: str) -> str:
    """Return the key of a caller in the local mesh."""
    return settings.key_path_of(caller).read_text().strip()


def record_of(settings: Settings, key: str) -> KeyRecord | None:
    """Return the keyring's record of a key, or None if the key is not valid."""
    return Keyring(KeyringFile(settings.keyring_path).records()).find(key, datetime.now(UTC))


@pytest.mark.requirement("S1")
def test_each_service_and_the_operator_get_a_key_with_the_scopes_of_the_contract(settings: Settings) -> None:
    """Each service and the operator get their own key with exactly the scopes of the contract.

    Only its owner may read a key file.
    """
    ensure_local_keys(settings)

    for caller in (*SERVICE_NAMES, OPERATOR):
        record = record_of(settings, key_of(settings, caller))
        assert record is not None
        expected = all_scopes() if caller == OPERATOR else scopes_of_caller(caller)
        assert (record.caller, record.scopes) == (caller, expected)
        assert settings.key_path_of(caller).stat().st_mode & 0o777 == 0o600


def test_a_restart_changes_no_valid_key(settings: Settings) -> None:
    """A restart changes no valid key."""
    ensure_local_keys(settings)
    before = {caller: key_of(settings, caller) for caller in SERVICE_NAMES}
    records = KeyringFile(settings.keyring_path).records()

    ensure_local_keys(settings)

    assert {caller: key_of(settings, caller) for caller in SERVICE_NAMES} == before
    assert KeyringFile(settings.keyring_path).records() == records


def test_a_restart_does_not_replace_a_rotated_key(settings: Settings) -> None:
    """A restart after a rotation does not replace the new key, and the older key stays valid for its overlap."""
    ensure_local_keys(settings)
    old = key_of(settings, "gym")
    write_key(settings.key_path_of("gym"), KeyringFile(settings.keyring_path).rotate("gym", timedelta(hours=1)))
    new = key_of(settings, "gym")

    ensure_local_keys(settings)

    assert key_of(settings, "gym") == new != old
    for key in (old, new):
        record = record_of(settings, key)
        assert record is not None
        assert (record.caller, record.scopes) == ("gym", scopes_of_caller("gym"))


def test_a_key_that_has_expired_by_the_clock_of_the_mesh_is_replaced(settings: Settings) -> None:
    """A key that is valid by the system's clock, but not by the clock of the mesh, is replaced."""
    settings = settings.model_copy(update={"clock_file": settings.data_dir / "clock"})
    write_offset(settings.data_dir / "clock", timedelta(days=31))
    ensure_local_keys(settings)
    old = key_of(settings, "gym")
    KeyringFile(settings.keyring_path).rotate("gym", timedelta(days=30))

    ensure_local_keys(settings)

    assert key_of(settings, "gym") != old


@pytest.mark.requirement("S1")
def test_a_key_with_other_scopes_than_the_contract_is_replaced(settings: Settings) -> None:
    """A key with other scopes than the contract's is revoked and replaced."""
    old = KeyringFile(settings.keyring_path).issue("gym", ["user.write"])
    write_key(settings.key_path_of("gym"), old)

    ensure_local_keys(settings)

    new = record_of(settings, key_of(settings, "gym"))
    assert record_of(settings, old) is None
    assert new is not None
    assert new.scopes == scopes_of_caller("gym")


def test_a_key_of_another_caller_is_replaced_and_stays_valid(settings: Settings) -> None:
    """A key file that holds the key of another caller gets a new key. The other caller's key stays valid."""
    ensure_local_keys(settings)
    operators = key_of(settings, OPERATOR)
    write_key(settings.key_path_of("gym"), operators)

    ensure_local_keys(settings)

    assert key_of(settings, "gym") != operators
    assert record_of(settings, operators) is not None


def test_a_file_that_is_not_a_keyring_is_rejected_and_left_unchanged(settings: Settings) -> None:
    """A file that is not a keyring is rejected with KEYRING_FILE and left unchanged."""
    settings.keyring_path.write_text("not a keyring")

    with pytest.raises(SettingsError, match=r"KEYRING_FILE: .* is not a keyring\."):
        ensure_local_keys(settings)

    assert settings.keyring_path.read_text() == "not a keyring"
