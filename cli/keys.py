"""`solo60 keys`: who may call what, and how keys come and go without a failed call (S2)."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.screen import CommandError, JsonFlag, out, print_json, print_table, remarks
from contracts.scopes import all_scopes
from mesh.config import load_settings
from mesh.keyring import KeyringFile
from mesh.local_keys import default_scopes, write_key
from mesh.watched_file import RELOAD_INTERVAL_S

if TYPE_CHECKING:
    from interceptors.keyring import KeyRecord
    from mesh.config import Settings

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

keys = typer.Typer(help="Issue, list, rotate and revoke service API keys.", no_args_is_help=True)


@keys.command()
def issue(
    caller: Annotated[str, typer.Argument(help="Who will call: a service, or any name together with --scope.")],
    scope: Annotated[list[str] | None, typer.Option(help="A scope; may be given several times.")] = None,
) -> None:
    """Issue a key and print it, once: only its hash is kept. A service's default scopes come from the contract."""
    scopes = frozenset(scope) if scope else default_scopes(caller)
    if scopes is None:
        raise CommandError(f'"{caller}" is not a service: name what it may do with --scope, such as --scope gym.read.')
    _refuse_unknown(scopes)
    key = KeyringFile(load_settings().keyring_path).issue(caller, scopes)
    sys.stdout.write(key + "\n")
    remarks.print(f"A key for {caller}, shown this once: {', '.join(sorted(scopes)) or 'no scopes'}.", markup=False)


@keys.command(name="list")
def list_keys(*, as_json: JsonFlag = False) -> None:
    """List every key that was issued, by its id; the keys themselves are not kept."""
    records = KeyringFile(load_settings().keyring_path).records()
    now = datetime.now(UTC)
    if as_json:
        print_json([_as_json(record, now) for record in records])
        return
    table = Table("key id", "caller", "state", "until", "scopes", box=None, pad_edge=False)
    for record in records:
        until = f"{record.not_after:%Y-%m-%d %H:%M} UTC" if record.not_after else ""
        table.add_row(record.key_id, record.caller, _state(record, now), until, ", ".join(sorted(record.scopes)))
    print_table(table, folds=("scopes",))


@keys.command()
def rotate(
    caller: str,
    overlap: Annotated[str, typer.Option(help="How long the older keys stay valid, such as 30m, 24h or 7d.")] = "24h",
) -> None:
    """Replace a caller's keys by a new one with the same scopes. A service of the local mesh takes it by itself."""
    settings = load_settings()
    try:
        key = KeyringFile(settings.keyring_path).rotate(caller, _duration(overlap))
    except KeyError:
        raise CommandError(f'"{caller}" has no valid key; `solo60 keys issue {caller}` makes one.') from None
    if settings.key_path_of(caller).exists():
        _hand_over(settings, caller, key)
    else:
        sys.stdout.write(key + "\n")
        remarks.print(f"The new key of {caller}, shown this once; the older ones end in {overlap}.", markup=False)


@keys.command()
def revoke(key_id: str) -> None:
    """End a key at once."""
    try:
        KeyringFile(load_settings().keyring_path).revoke(key_id)
    except KeyError:
        raise CommandError(f'There is no key with the id "{key_id}"; `solo60 keys list` shows them.') from None
    out.print(f"{key_id} is revoked.", markup=False)


def _hand_over(settings: Settings, caller: str, key: str) -> None:
    # A caller must not show its new key to a server that has yet to read of it.
    time.sleep(2 * RELOAD_INTERVAL_S)
    write_key(settings.key_path_of(caller), key)
    out.print(f"{settings.key_path_of(caller)} holds the new key of {caller}.", markup=False)


def _refuse_unknown(scopes: frozenset[str]) -> None:
    for unknown in sorted(scopes - all_scopes()):
        near = get_close_matches(unknown, all_scopes()) or sorted(all_scopes())
        raise CommandError(f'--scope: no method asks for "{unknown}". There is {", ".join(near)}.')


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise CommandError(f'--overlap: "{text}" is not a length of time, such as 30m, 24h or 7d.')
    return timedelta(seconds=int(match[1]) * UNITS_S[match[2]])


def _state(record: KeyRecord, now: datetime) -> str:
    if record.revoked:
        return "revoked"
    return "valid" if record.is_valid(now) else "expired"


def _as_json(record: KeyRecord, now: datetime) -> dict[str, object]:
    return {
        "key_id": record.key_id,
        "caller": record.caller,
        "state": _state(record, now),
        "scopes": sorted(record.scopes),
        "not_before": record.not_before.isoformat(),
        "not_after": record.not_after.isoformat() if record.not_after else None,
    }
