from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from interceptors.keys.keyring import id_of_key, mint_key
from mesh.config import Settings, SettingsError
from mesh.serving.keyring_file import KeyringFile, accepted_keys, format_keyring, own_key, parse_keyring

if TYPE_CHECKING:
    from pathlib import Path

SCOPES = ["gym.read", "user.read"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a keyring file in a folder that does not exist yet."""
    return tmp_path / "data" / "keyring.json"


def settings(path: Path, **others: Any) -> Settings:
    """Make settings with this keyring file."""
    return Settings(_env_file=None, keyring_file=path, **others)  # type: ignore[call-arg]  # pydantic-settings' own argument


def caller_of(path: Path, key: str, now: datetime | None = None) -> str | None:
    """Return the caller that the stored keyring accepts with this key, or None."""
    record = parse_keyring(path.read_text()).find(key, now or datetime.now(UTC))
    return record.caller if record else None


@pytest.mark.requirement("S1")
def test_an_issued_key_is_accepted(path: Path) -> None:
    """An issued key is accepted with its caller and scopes. The file does not contain the key."""
    key = KeyringFile(path).issue("session", SCOPES)

    [record] = KeyringFile(path).records()
    assert caller_of(path, key) == "session"
    assert record.scopes == frozenset(SCOPES)
    assert key not in path.read_text()
    assert key.rsplit("_", 1)[1] not in path.read_text()


def test_records_are_read_as_they_were_written(path: Path) -> None:
    """Formatting and parsing a keyring leaves its records unchanged."""
    file = KeyringFile(path)
    key = file.issue("session", SCOPES)
    file.rotate("session", timedelta(hours=1))
    file.revoke(id_of_key(key) or "")

    assert list(parse_keyring(format_keyring(file.records()))) == file.records()


@pytest.mark.requirement("S2")
def test_after_a_rotation_both_keys_are_valid_until_the_overlap_ends(path: Path) -> None:
    """After a rotation, the old key is valid until the overlap ends. The new key has the same scopes."""
    file = KeyringFile(path)
    old = file.issue("session", SCOPES)
    other = file.issue("gym", [])

    new = file.rotate("session", timedelta(hours=1))

    later = datetime.now(UTC) + timedelta(hours=2)
    assert [caller_of(path, key) for key in (old, new, other)] == ["session", "session", "gym"]
    assert [caller_of(path, key, later) for key in (old, new, other)] == [None, "session", "gym"]
    assert {record.scopes for record in file.records() if record.caller == "session"} == {frozenset(SCOPES)}


@pytest.mark.requirement("S2")
def test_a_rotation_never_extends_a_key(path: Path) -> None:
    """A second rotation does not extend the validity of the old key."""
    file = KeyringFile(path)
    first = file.issue("session", SCOPES)
    file.rotate("session", timedelta(minutes=1))
    file.rotate("session", timedelta(days=1))

    assert caller_of(path, first, datetime.now(UTC) + timedelta(minutes=2)) is None


def test_rotating_requires_a_valid_key(path: Path) -> None:
    """Rotating the key of a caller without a valid key raises KeyError and issues no key."""
    file = KeyringFile(path)
    key = file.issue("session", SCOPES)
    file.revoke(id_of_key(key) or "")

    for caller in ("session", "sesion"):
        with pytest.raises(KeyError, match=caller):
            file.rotate(caller, timedelta(hours=1))
    assert len(file.records()) == 1


@pytest.mark.requirement("S2")
def test_a_revoked_key_is_rejected(path: Path) -> None:
    """A revoked key is rejected and the caller's other key stays valid. Revoking an unknown key raises KeyError."""
    file = KeyringFile(path)
    lost, kept = file.issue("session", SCOPES), file.issue("session", SCOPES)

    file.revoke(id_of_key(lost) or "")

    assert [caller_of(path, key) for key in (lost, kept)] == [None, "session"]
    with pytest.raises(KeyError, match="unknown"):
        file.revoke("unknown")


@pytest.mark.requirement("S2")
def test_writers_do_not_overwrite_each_other(path: Path) -> None:
    """Concurrent writers of a keyring lose no key."""
    gate = threading.Barrier(8)

    def issue(_: int) -> None:
        gate.wait()
        for _ in range(5):
            KeyringFile(path).issue("session", SCOPES)

    # The lock belongs to an open file, so threads wait for each other as processes do.
    with ThreadPoolExecutor(8) as operators:
        list(operators.map(issue, range(8)))

    assert len(KeyringFile(path).records()) == 40


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"keys": 1}',
        '{"keys": [1]}',
        '{"keys": [{}]}',
        '{"keys": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_text_that_is_not_a_keyring_is_rejected(text: str) -> None:
    """Text that is not a complete keyring raises ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - any message is fine
        parse_keyring(text)


@pytest.mark.parametrize("sha256", ["", "0" * 63, "é" * 64, "0" * 64 + "\n", None])
def test_a_malformed_hash_is_rejected(path: Path, sha256: str | None) -> None:
    """A malformed key hash is rejected when the keyring is read, not when a call is checked."""
    KeyringFile(path).issue("session", SCOPES)
    keyring = json.loads(path.read_text())
    keyring["keys"][0]["sha256"] = sha256

    with pytest.raises(ValueError):  # noqa: PT011 - any message is fine
        parse_keyring(json.dumps(keyring))


@pytest.mark.parametrize("field", ["not_before", "not_after"])
def test_a_time_without_a_time_zone_is_rejected(path: Path, field: str) -> None:
    """A time without a time zone is rejected when the keyring is read, not when a call is checked."""
    KeyringFile(path).issue("session", SCOPES)
    keyring = json.loads(path.read_text())
    keyring["keys"][0][field] = "2026-01-01T00:00:00"

    with pytest.raises(ValueError, match="without a time zone"):
        parse_keyring(json.dumps(keyring))


def test_the_error_for_a_missing_keyring_names_the_remedy(path: Path) -> None:
    """A missing or invalid keyring is reported with KEYRING_FILE.

    If the file is missing, the error names the command that creates it.
    """
    with pytest.raises(SettingsError, match=r"^KEYRING_FILE: there is no file .*; `solo60 keys issue` creates it\.$"):
        accepted_keys(settings(path))

    path.parent.mkdir()
    path.write_text("no keyring")
    with pytest.raises(SettingsError, match=r"^KEYRING_FILE: .* is not a keyring\.$"):
        accepted_keys(settings(path))

    with pytest.raises(SettingsError, match=r"^KEYRING_FILE: .* is not a keyring\.$"):
        accepted_keys(settings(path.parent))


@pytest.mark.requirement("S1")
def test_a_server_accepts_the_keys_in_the_file(path: Path) -> None:
    """A server accepts the keys in the file named by KEYRING_FILE."""
    key = KeyringFile(path).issue("session", SCOPES)

    record = accepted_keys(settings(path))().find(key, datetime.now(UTC))

    assert record is not None
    assert record.caller == "session"


@pytest.mark.requirement("S1")
def test_a_process_reads_its_own_key(path: Path, tmp_path: Path) -> None:
    """A process reads its key from a setting or from a file without the line end.

    Without either, or with an unreadable file, the error names the setting.
    """
    file = tmp_path / "key"
    file.write_text(mint_key("test") + "\n")

    assert own_key(settings(path, service_api_key=SecretStr("sk_a")))() == "sk_a"
    assert own_key(settings(path, service_api_key_file=file))() == file.read_text().strip()
    with pytest.raises(SettingsError, match=r"^SERVICE_API_KEY: not set, nor is SERVICE_API_KEY_FILE"):
        own_key(settings(path))
    with pytest.raises(SettingsError, match=r"^SERVICE_API_KEY_FILE: .* cannot be read: No such file or directory\.$"):
        own_key(settings(path, service_api_key_file=tmp_path / "missing"))


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("text", ["", "two lines\nof text", "schlüssel"])
def test_text_that_no_header_can_carry_is_not_a_key(path: Path, tmp_path: Path, text: str) -> None:
    """A key that no header can carry is rejected at the start in one sentence that does not repeat it."""
    file = tmp_path / "key"
    file.write_text(text)

    with pytest.raises(SettingsError, match=r"^SERVICE_API_KEY: this is not a key\.$"):
        own_key(settings(path, service_api_key=SecretStr(text)))
    with pytest.raises(SettingsError, match=r"^SERVICE_API_KEY_FILE: .*/key does not contain a key\.$"):
        own_key(settings(path, service_api_key_file=file))


def test_a_keyring_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error for a keyring that cannot be written names KEYRING_FILE."""
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=r"^KEYRING_FILE: .* cannot be written: "):
        KeyringFile(tmp_path / "file" / "folder" / "keyring.json").issue("session", SCOPES)
