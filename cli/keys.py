"""`solo60 keys`: issue, list, rotate and revoke API keys of services, without failed calls."""

from __future__ import annotations

import sys
import time
from datetime import UTC
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from cli.durations import parse_duration
from cli.service_names import require_service
from cli.terminal import CommandError, JsonFlag, err, out, print_json, print_table
from contracts.scopes import all_scopes, scopes_of_caller
from interceptors.keys.keyring import is_caller_name
from local.keys import default_scopes, write_key
from local.movable_clock import clock_of_mesh
from mesh.config import load_settings
from mesh.serving.key_uses import KeyUses
from mesh.serving.keyring_file import KeyringFile
from mesh.serving.watched_file import RELOAD_INTERVAL_S

if TYPE_CHECKING:
    from datetime import datetime

    from interceptors.keys.keyring import KeyRecord
    from mesh.config import Settings

keys = typer.Typer(help="Issue, list, rotate and revoke service API keys.", no_args_is_help=True)


@keys.command()
def issue(
    caller: Annotated[
        str | None,
        typer.Argument(metavar="CALLER", help="Caller: a service, or another name with --scope or --for."),
    ] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Scope of the key. May be repeated.")] = None,
    service: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="SERVICE",
            help="Give the key exactly the scopes that SERVICE needs. Without CALLER, the caller is SERVICE.",
        ),
    ] = None,
) -> None:
    """Issue a key and print it. Only its hash is stored, so the key cannot be shown again.

    A key for a service of the local mesh is written to the service's key file instead. A service's default scopes come
    from the contract.
    """
    caller = _valid_caller_name(service if caller is None else caller)
    scopes = _scopes_of_new_key(caller, frozenset(scope or ()), service)
    _reject_unknown(scopes)
    settings = load_settings()
    key = KeyringFile(settings.keyring_path).issue(caller, scopes)
    if _is_of_local_mesh(settings, caller):
        _write_new_key(settings, caller, key)
        return
    sys.stdout.write(key + "\n")
    err.print(f"Key for {caller}, shown only once. Scopes: {', '.join(sorted(scopes)) or 'none'}.", markup=False)


@keys.command(name="list")
def list_keys(*, as_json: JsonFlag = False) -> None:
    """List all issued keys by id. The keys themselves are not stored."""
    settings = load_settings()
    path, now = settings.keyring_path, clock_of_mesh(settings).now()
    records, last_uses = KeyringFile(path).records(), KeyUses(path).last_uses()
    if as_json:
        print_json([_as_json(record, now, last_uses.get(record.key_id)) for record in records])
        return
    table = Table(
        Column("key id", no_wrap=True),
        "caller",
        "state",
        "created",
        "last used",
        "until",
        "scopes",
        box=None,
        pad_edge=False,
    )
    for record in records:
        times = map(_minute, (record.not_before, last_uses.get(record.key_id), record.not_after))
        table.add_row(record.key_id, record.caller, _state(record, now), *times, ", ".join(sorted(record.scopes)))
    print_table(table, folds=("scopes",))


@keys.command()
def rotate(
    caller: Annotated[str, typer.Argument(metavar="CALLER", help="Caller with a valid key, such as gym.")],
    overlap: Annotated[str, typer.Option(help="How long the older keys stay valid, such as 30m, 24h or 7d.")] = "24h",
) -> None:
    """Replace a caller's keys with a new key for the same scopes. Services of the local mesh load it automatically."""
    settings = load_settings()
    try:
        keyring = KeyringFile(settings.keyring_path, clock_of_mesh(settings))
        key = keyring.rotate(caller, parse_duration("--overlap", overlap))
    except KeyError:
        raise CommandError(f'"{caller}" has no valid key. Issue one with `solo60 keys issue {caller}`.') from None
    if _is_of_local_mesh(settings, caller):
        _write_new_key(settings, caller, key)
    else:
        sys.stdout.write(key + "\n")
        err.print(f"New key for {caller}, shown only once. Older keys expire in {overlap}.", markup=False)


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="Key id, from `solo60 keys list`.")]) -> None:
    """Revoke a key immediately."""
    try:
        KeyringFile(load_settings().keyring_path).revoke(key_id)
    except KeyError:
        raise CommandError(f'There is no key with the id "{key_id}". List all ids with `solo60 keys list`.') from None
    out.print(f"{key_id} is revoked.", markup=False)


def _valid_caller_name(caller: str | None) -> str:
    if caller is None:
        raise CommandError("Give the key a CALLER, such as `solo60 keys issue session`.")
    if not is_caller_name(caller):
        raise CommandError(
            f'"{caller}" is not a valid caller name: use 1 to 64 letters, digits, ".", "_", "-" and inner spaces.'
        )
    return caller


def _scopes_of_new_key(caller: str, scopes: frozenset[str], service: str | None) -> frozenset[str]:
    if service is not None:
        if scopes:
            raise CommandError("--scope and --for exclude each other: --for already gives the scopes of a service.")
        return scopes_of_caller(require_service(service))
    found = scopes or default_scopes(caller)
    if found is None:
        raise CommandError(
            f'"{caller}" is not a service: give its scopes with --scope, such as --scope gym.read, or --for a service.'
        )
    return found


def _is_of_local_mesh(settings: Settings, caller: str) -> bool:
    """Return whether `caller` reads its key from a file of the mesh in DATA_DIR."""
    path = settings.key_path_of(caller)
    return path.exists() or (path.parent.is_dir() and default_scopes(caller) is not None)


def _write_new_key(settings: Settings, caller: str, key: str) -> None:
    # Servers reload the keyring every RELOAD_INTERVAL_S, and would reject a new key that is used before that.
    time.sleep(2 * RELOAD_INTERVAL_S)
    write_key(settings.key_path_of(caller), key)
    out.print(f"{settings.key_path_of(caller)} contains the new key of {caller}.", markup=False)


def _reject_unknown(scopes: frozenset[str]) -> None:
    for unknown in sorted(scopes - all_scopes()):
        near = get_close_matches(unknown, all_scopes()) or sorted(all_scopes())
        raise CommandError(f'--scope: no method requires "{unknown}". Use one of {", ".join(near)}.')


def _state(record: KeyRecord, now: datetime) -> str:
    if record.revoked:
        return "revoked"
    return "valid" if record.is_valid(now) else "expired"


def _minute(instant: datetime | None) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if instant else ""


def _as_json(record: KeyRecord, now: datetime, last_used: datetime | None) -> dict[str, object]:
    return {
        "key_id": record.key_id,
        "caller": record.caller,
        "state": _state(record, now),
        "scopes": sorted(record.scopes),
        "created": record.not_before.isoformat(),
        "last_used": last_used.isoformat() if last_used else None,
        "not_before": record.not_before.isoformat(),
        "not_after": record.not_after.isoformat() if record.not_after else None,
    }
