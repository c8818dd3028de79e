"""Keys of a local mesh: API keys of services, operator and console, and the secret of unsubscribe links."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from contracts.scopes import all_scopes, scopes_of_caller
from contracts.services import SERVICE_NAMES
from interceptors.keys.keyring import Keyring
from local.disk import with_path
from local.movable_clock import clock_in
from local.parts import CONSOLE
from mesh.serving.keyring_file import KeyringFile

if TYPE_CHECKING:
    from pathlib import Path

    from interceptors.keys.keyring import KeyRecord
    from mesh.config import Settings

OPERATOR = "operator"
# The console only reads with its own key. It acts with the key of its reader.
CONSOLE_SCOPES = frozenset(
    {
        "communication.read",
        "gym.read",
        "mesh.inspect",
        "outbox.read",
        "payment.read",
        "session.read",
        "subscription.read",
    }
)


def default_scopes(caller: str) -> frozenset[str] | None:
    """Return the scopes of a service, the operator or the console, or None for any other caller."""
    if caller == OPERATOR:
        return all_scopes()
    if caller == CONSOLE:
        return CONSOLE_SCOPES
    return scopes_of_caller(caller) if caller in SERVICE_NAMES else None


def ensure_local_keys(settings: Settings) -> None:
    """Issue a key in DATA_DIR/keys for each service, the operator and the console that lacks a valid one.

    A key is replaced and revoked if its scopes differ from the contract. Raises SettingsError if the keyring cannot be
    read.
    """
    keyring = KeyringFile(settings.keyring_path)
    known = Keyring(keyring.records())
    now = clock_in(settings).now()
    for caller in (*SERVICE_NAMES, OPERATOR, CONSOLE):
        scopes = default_scopes(caller) or frozenset()
        path = settings.key_path_of(caller)
        record = known.find(_key_in(path), now)
        if record is not None and (record.caller, record.scopes) == (caller, scopes):
            continue
        write_key(path, keyring.issue(caller, scopes))
        if record is not None and record.caller == caller:
            keyring.revoke(record.key_id)


def needless_scopes(record: KeyRecord) -> frozenset[str]:
    """Return the scopes of a key that its caller does not need, according to the contracts.

    A service needs the scopes of its own calls. Callers that are not part of the mesh may have every scope that some
    method requires.
    """
    needed = default_scopes(record.caller)
    return record.scopes - (all_scopes() if needed is None else needed)


def ensure_link_secret(settings: Settings) -> str:
    """Return the secret that signs the unsubscribe links of a local mesh, created on the first call."""
    path = settings.data_dir / "unsubscribe_secret"
    if not path.exists():
        write_key(path, secrets.token_urlsafe(32))
    return _key_in(path)


def write_key(path: Path, key: str) -> None:
    """Write a key atomically to a file that only its owner can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = path.with_name(path.name + ".new")
    written.unlink(missing_ok=True)
    with with_path(path):
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(key + "\n")
        written.replace(path)


def _key_in(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""
