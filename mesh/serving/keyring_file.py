"""Keyring file: the keys that a server accepts, with issue, rotation and revocation.

The file holds hashes, never keys. A key is shown only once, when it is issued. Servers reload the file when it changes.
"""

from __future__ import annotations

import fcntl
import json
import re
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from interceptors.keys.keyring import KeyRecord, Keyring, is_caller_name, mint_key, record_of_key
from mesh.clock import SYSTEM_CLOCK
from mesh.config import SettingsError
from mesh.serving.watched_file import WatchedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from mesh.clock import Clock
    from mesh.config import Settings

    # Called with all records and the record in question while no other process can change the keyring.
    Check = Callable[[Sequence[KeyRecord], KeyRecord], None]


def accepted_keys(settings: Settings) -> Callable[[], Keyring]:
    """Return a function that returns the current keyring; raise SettingsError if the file is missing or invalid."""
    path = settings.keyring_path
    try:
        return WatchedFile(path, parse_keyring)
    except FileNotFoundError:
        raise SettingsError(f"KEYRING_FILE: there is no file {path}; `solo60 keys issue` creates it.") from None
    except (OSError, ValueError) as error:
        raise _no_keyring(path, error) from None


def own_key(settings: Settings) -> Callable[[], str]:
    """Return a function that returns this process's current key; raise SettingsError if it has none."""
    literal = settings.service_api_key
    if literal is not None:
        try:
            _key_in(literal.get_secret_value())
        except ValueError:
            raise SettingsError("SERVICE_API_KEY: this is not a key.") from None
        return literal.get_secret_value
    path = settings.service_api_key_file
    if path is None:
        raise SettingsError("SERVICE_API_KEY: not set, nor is SERVICE_API_KEY_FILE; `solo60 keys issue` creates a key.")
    try:
        return WatchedFile(path, _key_in)
    except OSError as error:
        raise SettingsError(f"SERVICE_API_KEY_FILE: {path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise SettingsError(f"SERVICE_API_KEY_FILE: {path} does not contain a key.") from None


def _key_in(text: str) -> str:
    """Return the key in `text`; raise ValueError for characters that a header cannot carry."""
    key = text.strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise ValueError("This is not a key.")
    return key


class KeyringFile:
    """Keyring on disk, changed by one writer at a time and replaced atomically; `clock` decides which keys are valid.

    If the file is not a valid keyring, methods that change it raise SettingsError and leave it unchanged.
    """

    def __init__(self, path: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self._path = path
        self._clock = clock

    def records(self) -> list[KeyRecord]:
        """Return the records of all keys, none without a file; raise SettingsError for an invalid keyring."""
        try:
            return list(parse_keyring(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise _no_keyring(self._path, error) from None

    def issue(self, caller: str, scopes: Iterable[str], environment: str = "dev") -> str:
        """Return a new key for `caller` and store its hash; the caller's other keys stay valid."""
        key = mint_key(environment)
        with self._changing() as records:
            records.append(record_of_key(key, caller, scopes))
        return key

    def rotate(self, caller: str, overlap: timedelta, environment: str = "dev", *, check: Check | None = None) -> str:
        """Return a new key with the scopes of the newest one; the caller's older keys expire after `overlap`.

        Raises KeyError if the caller has no valid key. `check` may raise to keep the keyring as it is; it gets the
        newest record.
        """
        now, key = self._clock.now(), mint_key(environment)
        with self._changing() as records:
            valid = [record for record in records if record.caller == caller and record.is_valid(now)]
            if not valid:
                raise KeyError(caller)
            if check is not None:
                check(records, valid[-1])
            for record in valid:
                ends = min(record.not_after or now + overlap, now + overlap)
                records[records.index(record)] = replace(record, not_after=ends)
            records.append(record_of_key(key, caller, valid[-1].scopes))
        return key

    def revoke(self, key_id: str, *, check: Check | None = None) -> None:
        """Revoke a key at once; raise KeyError if no key has this id.

        `check` may raise to keep the keyring as it is; it gets the record of the key.
        """
        with self._changing() as records:
            for index, record in enumerate(records):
                if record.key_id == key_id:
                    if check is not None:
                        check(records, record)
                    records[index] = replace(record, revoked=True)
                    return
        raise KeyError(key_id)

    @contextmanager
    def _changing(self) -> Iterator[list[KeyRecord]]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._path.with_suffix(".lock").open("w")
        except OSError as error:
            raise SettingsError(f"KEYRING_FILE: {self._path} cannot be written: {error.strerror}.") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            records = self.records()
            yield records
            written = self._path.with_suffix(".new")
            try:
                written.write_text(format_keyring(records), encoding="utf-8")
                written.replace(self._path)
            except OSError as error:
                raise SettingsError(f"KEYRING_FILE: {self._path} cannot be written: {error.strerror}.") from None


def _no_keyring(path: Path, error: Exception) -> SettingsError:
    if isinstance(error, PermissionError):
        return SettingsError(f"KEYRING_FILE: {path} cannot be read: {error.strerror}.")
    return SettingsError(f"KEYRING_FILE: {path} is not a keyring.")


def parse_keyring(text: str) -> Keyring:
    """Return the keyring in `text`; raise ValueError if it is invalid."""
    try:
        return Keyring(_record(entry) for entry in json.loads(text)["keys"])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("This is not a keyring.") from error


def _record(entry: dict[str, Any]) -> KeyRecord:
    not_after = entry["not_after"]
    if not re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]):
        raise ValueError("sha256 must be a SHA-256 in hexadecimal.")
    if not is_caller_name(entry["caller"]):
        raise ValueError("caller must be a valid caller name.")
    return KeyRecord(
        key_id=entry["key_id"],
        caller=entry["caller"],
        sha256=entry["sha256"],
        scopes=frozenset(entry["scopes"]),
        not_before=_instant(entry["not_before"]),
        not_after=_instant(not_after) if not_after else None,
        revoked=entry["revoked"],
    )


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("A time without a time zone is ambiguous.")
    return instant


def format_keyring(records: Iterable[KeyRecord]) -> str:
    """Return the text of a keyring file: JSON with one object per key."""
    return json.dumps({"keys": [asdict(record) for record in records]}, indent=2, default=_plain) + "\n"


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else sorted(value)  # type: ignore[call-overload]  # anything else is a set of scopes
