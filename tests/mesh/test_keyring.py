from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from interceptors.keyring import id_of_key, mint_key
from mesh.config import Settings, SettingsError
from mesh.keyring import KeyringFile, accepted_keys, format_keyring, own_key, parse_keyring

if TYPE_CHECKING:
    from pathlib import Path

SCOPES = ["gym.read", "user.read"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a keyring file in a folder that is not there yet."""
    return tmp_path / "data" / "keyring.json"


def settings(path: Path, **others: Any) -> Settings:  # noqa: ANN401 - any setting
    """Make settings with this keyring file."""
    return Settings(_env_file=None, keyring_file=path, **others)  # type: ignore[call-arg]  # pydantic-settings' own argument


def caller_of(path: Path, key: str, now: datetime | None = None) -> str | None:
    """Return whom the keyring on disk lets in with this key."""
    record = parse_keyring(path.read_text()).find(key, now or datetime.now(UTC))
    return record.caller if record else None


@pytest.mark.requirement("S1")
def test_an_issued_key_opens(path: Path) -> None:
    """The file knows the key's owner and scopes, and holds no key."""
    key = KeyringFile(path).issue("session", SCOPES)

    [record] = KeyringFile(path).records()
    assert caller_of(path, key) == "session"
    assert record.scopes == frozenset(SCOPES)
    assert key not in path.read_text()
    assert key.rsplit("_", 1)[1] not in path.read_text()


def test_what_is_written_is_what_is_read(path: Path) -> None:
    """Nothing of a record is lost on its way through the file."""
    file = KeyringFile(path)
    key = file.issue("session", SCOPES)
    file.rotate("session", timedelta(hours=1))
    file.revoke(id_of_key(key) or "")

    assert list(parse_keyring(format_keyring(file.records()))) == file.records()


@pytest.mark.requirement("S2")
def test_after_a_rotation_both_keys_open_until_the_overlap_ends(path: Path) -> None:
    """Callers change their key one after another, and none of their calls fails."""
    file = KeyringFile(path)
    old = file.issue("session", SCOPES)
    other = file.issue("gym", [])

    new = file.rotate("session", timedelta(hours=1))

    later = datetime.now(UTC) + timedelta(hours=2)
    assert [caller_of(path, key) for key in (old, new, other)] == ["session", "session", "gym"]
    assert [caller_of(path, key, later) for key in (old, new, other)] == [None, "session", "gym"]
    assert {record.scopes for record in file.records() if record.caller == "session"} == {frozenset(SCOPES)}


@pytest.mark.requirement("S2")
def test_a_rotation_never_prolongs_a_key(path: Path) -> None:
    """A key that ends soon ends then."""
    file = KeyringFile(path)
    first = file.issue("session", SCOPES)
    file.rotate("session", timedelta(minutes=1))
    file.rotate("session", timedelta(days=1))

    assert caller_of(path, first, datetime.now(UTC) + timedelta(minutes=2)) is None


def test_who_has_no_valid_key_has_none_to_rotate(path: Path) -> None:
    """A typo in a caller's name issues no key."""
    file = KeyringFile(path)
    key = file.issue("session", SCOPES)
    file.revoke(id_of_key(key) or "")

    for caller in ("session", "sesion"):
        with pytest.raises(KeyError, match=caller):
            file.rotate(caller, timedelta(hours=1))
    assert len(file.records()) == 1


@pytest.mark.requirement("S2")
def test_a_revoked_key_opens_nothing(path: Path) -> None:
    """At once, and no other key is touched."""
    file = KeyringFile(path)
    lost, kept = file.issue("session", SCOPES), file.issue("session", SCOPES)

    file.revoke(id_of_key(lost) or "")

    assert [caller_of(path, key) for key in (lost, kept)] == [None, "session"]
    with pytest.raises(KeyError, match="unknown"):
        file.revoke("unknown")


@pytest.mark.requirement("S2")
def test_writers_do_not_overwrite_each_other(path: Path) -> None:
    """Several operators at once lose no key."""
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
def test_what_is_no_keyring_is_refused(text: str) -> None:
    """A file by mistake, or half a file."""
    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        parse_keyring(text)


@pytest.mark.parametrize("sha256", ["", "0" * 63, "é" * 64, "0" * 64 + "\n", None])
def test_a_hash_that_is_none_is_refused(path: Path, sha256: str | None) -> None:
    """It would be no error until a call is compared with it."""
    KeyringFile(path).issue("session", SCOPES)
    keyring = json.loads(path.read_text())
    keyring["keys"][0]["sha256"] = sha256

    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        parse_keyring(json.dumps(keyring))


@pytest.mark.parametrize("field", ["not_before", "not_after"])
def test_a_time_without_its_zone_is_refused(path: Path, field: str) -> None:
    """It would be no error until a call compares it with now."""
    KeyringFile(path).issue("session", SCOPES)
    keyring = json.loads(path.read_text())
    keyring["keys"][0][field] = "2026-01-01T00:00:00"

    with pytest.raises(ValueError, match="without a time zone"):
        parse_keyring(json.dumps(keyring))


def test_a_server_without_a_keyring_says_what_to_do(path: Path) -> None:
    """One sentence names the setting."""
    with pytest.raises(SettingsError, match=r"^KEYRING_FILE: there is no file .*; `solo60 keys issue` creates it\.$"):
        accepted_keys(settings(path))

    path.parent.mkdir()
    path.write_text("no keyring")
    with pytest.raises(SettingsError, match=r"^KEYRING_FILE: .* is not a keyring\.$"):
        accepted_keys(settings(path))

    with pytest.raises(SettingsError, match=r"^KEYRING_FILE: .* is not a keyring\.$"):
        accepted_keys(settings(path.parent))


@pytest.mark.requirement("S1")
def test_a_server_accepts_what_the_file_holds(path: Path) -> None:
    """The keyring in the settings is the one that counts."""
    key = KeyringFile(path).issue("session", SCOPES)

    record = accepted_keys(settings(path))().find(key, datetime.now(UTC))

    assert record is not None
    assert record.caller == "session"


@pytest.mark.requirement("S1")
def test_a_process_finds_its_own_key(path: Path, tmp_path: Path) -> None:
    """In a setting, or in a file without the line's end; without either, one sentence names the settings."""
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
def test_what_no_header_can_carry_is_not_taken_for_a_key(path: Path, tmp_path: Path, text: str) -> None:
    """Said at the start in one sentence that does not repeat it, not by each call that fails."""
    file = tmp_path / "key"
    file.write_text(text)

    with pytest.raises(SettingsError, match=r"^SERVICE_API_KEY: this is not a key\.$"):
        own_key(settings(path, service_api_key=SecretStr(text)))
    with pytest.raises(SettingsError, match=r"^SERVICE_API_KEY_FILE: .*/key does not hold a key\.$"):
        own_key(settings(path, service_api_key_file=file))


def test_a_keyring_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One sentence names the setting, whatever the folder is."""
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=r"^KEYRING_FILE: .* cannot be written: "):
        KeyringFile(tmp_path / "file" / "folder" / "keyring.json").issue("session", SCOPES)
