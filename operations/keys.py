"""API keys of callers: list, issue, rotate and revoke, and the right to do so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import SecretStr

from contracts.scopes import all_scopes
from interceptors.keys.keyring import id_of_key, is_caller_name
from local.keys import default_scopes, needless_scopes, write_key
from local.movable_clock import clock_of_mesh
from mesh.failure import Failure
from mesh.serving.key_uses import KeyUses
from mesh.serving.keyring_file import KeyringFile
from mesh.serving.watched_file import RELOAD_INTERVAL_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from interceptors.keys.keyring import KeyRecord
    from mesh.config import Settings

VALID, EXPIRED, REVOKED, NOT_YET_VALID = STATES = ("valid", "expired", "revoked", "not yet valid")
EXPIRES_SOON = timedelta(days=7)
# After this time, all servers accept a new key.
RELOADED_S = 2 * RELOAD_INTERVAL_S


class InvalidKeyRequest(Failure):
    """Request for a key that cannot exist. `field` is "caller" or "scope"."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class UnknownKey(Failure):
    """No key has the given id, or no valid key has the given caller."""


class LastManagerKey(Failure):
    """Refusal to revoke the last valid key that has every scope."""


class NotAManager(Failure):
    """The key may not manage keys, or may not give away a scope."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key of a keyring, without the key itself.

    `last_used` is exact to the minute. `needless_scopes` are scopes of a valid key that its caller does not need.
    `expires_soon` means that the caller is left without a valid key within EXPIRES_SOON.
    """

    record: KeyRecord
    state: str
    last_used: datetime | None
    needless_scopes: frozenset[str]
    expires_soon: bool

    def as_json(self) -> dict[str, object]:
        """Return the facts as JSON values; times are ISO 8601."""
        record = self.record
        return {
            "key_id": record.key_id,
            "caller": record.caller,
            "state": self.state,
            "scopes": sorted(record.scopes),
            "needless_scopes": sorted(self.needless_scopes),
            "created": record.not_before.isoformat(),
            "last_used": self.last_used.isoformat() if self.last_used else None,
            "not_before": record.not_before.isoformat(),
            "not_after": record.not_after.isoformat() if record.not_after else None,
            "expires_soon": self.expires_soon,
        }


@dataclass(frozen=True, slots=True)
class NewKey:
    """New key, which is stored nowhere. `file` is the key file of its caller in the local mesh, if it has one."""

    key: SecretStr
    caller: str
    file: Path | None

    @property
    def key_id(self) -> str:
        """The id of the key."""
        return id_of_key(self.key.get_secret_value()) or ""

    def write(self) -> None:
        """Write the key to `file`, for callers with a file. Wait RELOADED_S first, or servers may reject the key."""
        if self.file is not None:
            write_key(self.file, self.key.get_secret_value())


def keys_of(settings: Settings) -> list[KeyInfo]:
    """Return all keys in the order of their creation; raise SettingsError for an invalid keyring."""
    path, now = settings.keyring_path, clock_of_mesh(settings).now()
    records, last_uses = KeyringFile(path).records(), KeyUses(path).last_uses()
    lasting = {each.caller for each in records if each.is_valid(now) and not _ends_soon(each, now)}
    return [
        KeyInfo(
            record,
            state_of(record, now),
            last_uses.get(record.key_id),
            needless_scopes(record) if record.is_valid(now) else frozenset(),
            record.is_valid(now) and record.caller not in lasting,
        )
        for record in records
    ]


def state_of(record: KeyRecord, now: datetime) -> str:
    """Return one of STATES."""
    if record.revoked:
        return REVOKED
    if record.is_valid(now):
        return VALID
    return NOT_YET_VALID if now < record.not_before else EXPIRED


def issue_key(settings: Settings, caller: str, scopes: Iterable[str]) -> NewKey:
    """Return a new key; raise InvalidKeyRequest for an unusable caller name or an unknown scope."""
    require_caller_name(caller)
    scopes = frozenset(scopes)
    for unknown in sorted(scopes - all_scopes()):
        near = get_close_matches(unknown, all_scopes()) or sorted(all_scopes())
        raise InvalidKeyRequest("scope", f'no method requires "{unknown}". Use one of {", ".join(near)}.')
    return _new_key(settings, caller, KeyringFile(settings.keyring_path).issue(caller, scopes))


def rotate_key(settings: Settings, caller: str, overlap: timedelta, manager: KeyRecord | None = None) -> NewKey:
    """Return a new key with the scopes of the caller's newest one. The older keys expire after `overlap`.

    Raises UnknownKey if the caller has no valid key, and NotAManager if `manager` is given and lacks one of the scopes.
    """
    keyring = KeyringFile(settings.keyring_path, clock_of_mesh(settings))

    def check(_records: Sequence[KeyRecord], newest: KeyRecord) -> None:
        if manager is not None:
            require_manager(manager, newest.scopes)

    try:
        key = keyring.rotate(caller, overlap, check=check)
    except KeyError:
        raise UnknownKey(f'"{caller}" has no valid key. Issue one with `solo60 keys issue {caller}`.') from None
    return _new_key(settings, caller, key)


def revoke_key(settings: Settings, key_id: str, *, spare_last_manager: bool = False) -> None:
    """Revoke a key at once.

    Raises UnknownKey if no key has this id, and with `spare_last_manager` LastManagerKey for the last valid key that
    has every scope.
    """
    now = clock_of_mesh(settings).now()

    def check(records: Sequence[KeyRecord], record: KeyRecord) -> None:
        if spare_last_manager and [record] == _managers(records, now):
            raise LastManagerKey(
                f"{key_id} is the last valid key with every scope, so it is not revoked: nobody could manage keys here "
                f"then. Issue another one first, or use `solo60 keys revoke {key_id}`."
            )

    try:
        KeyringFile(settings.keyring_path).revoke(key_id, check=check)
    except KeyError:
        raise UnknownKey(f'There is no key with the id "{key_id}". List all ids with `solo60 keys list`.') from None


def has_manager(keys: Iterable[KeyInfo]) -> bool:
    """Return whether a valid key has every scope."""
    return any(key.state == VALID and key.record.scopes >= all_scopes() for key in keys)


def require_manager(record: KeyRecord | None, scopes: Iterable[str] = ()) -> None:
    """Raise NotAManager unless a valid key may manage keys and has all of `scopes`.

    A key may manage keys if it has every scope that a method requires, as the operator's key does. So nobody can
    gain a scope by managing keys. `record` is None if the key is not valid or if there is none.
    """
    if record is None:
        raise NotAManager("Managing keys needs a valid key with every scope, such as the operator's.")
    missing = sorted((all_scopes() | frozenset(scopes)) - record.scopes)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise NotAManager(
            f"Managing keys needs a key with every scope, such as the operator's. The key of {record.caller} lacks "
            f"{missing[0]}{more}."
        )


def require_caller_name(caller: str) -> None:
    """Raise InvalidKeyRequest for an unusable caller name."""
    if not is_caller_name(caller):
        raise InvalidKeyRequest(
            "caller",
            f'"{caller}" is not a valid caller name: use 1 to 64 letters, digits, ".", "_", "-" and inner spaces.',
        )


def _new_key(settings: Settings, caller: str, key: str) -> NewKey:
    file = settings.key_path_of(caller)
    # A caller of the mesh in DATA_DIR reads its key from a file.
    is_local = file.exists() or (file.parent.is_dir() and default_scopes(caller) is not None)
    return NewKey(SecretStr(key), caller, file if is_local else None)


def _managers(records: Iterable[KeyRecord], now: datetime) -> list[KeyRecord]:
    return [record for record in records if record.is_valid(now) and record.scopes >= all_scopes()]


def _ends_soon(record: KeyRecord, now: datetime) -> bool:
    return record.not_after is not None and record.not_after - now < EXPIRES_SOON
