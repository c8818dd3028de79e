"""`solo60 keys`: issue, list, rotate and revoke API keys of services, without failed calls."""

from __future__ import annotations

import sys
import time
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from cli.durations import parse_duration
from cli.service_names import require_service
from cli.terminal import CommandError, JsonFlag, err, out, print_json, print_table
from contracts.scopes import scopes_of_caller
from local.keys import default_scopes
from mesh.config import load_settings
from operations.keys import (
    RELOADED_S,
    InvalidKeyRequest,
    has_manager,
    issue_key,
    keys_of,
    require_caller_name,
    revoke_key,
    rotate_key,
)

if TYPE_CHECKING:
    from datetime import datetime

    from operations.keys import NewKey

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
    try:
        key = issue_key(load_settings(), caller, scopes)
    except InvalidKeyRequest as error:
        raise CommandError(f"--scope: {error}") from None
    if not _write_to_file(key):
        sys.stdout.write(key.key.get_secret_value() + "\n")
        err.print(f"Key for {caller}, shown only once. Scopes: {', '.join(sorted(scopes)) or 'none'}.", markup=False)


@keys.command(name="list")
def list_keys(*, as_json: JsonFlag = False) -> None:
    """List all issued keys by id. The keys themselves are not stored."""
    found = keys_of(load_settings())
    if as_json:
        print_json([key.as_json() for key in found])
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
    for key in found:
        record = key.record
        times = map(_minute, (record.not_before, key.last_used, record.not_after))
        table.add_row(record.key_id, record.caller, key.state, *times, ", ".join(sorted(record.scopes)))
    print_table(table, folds=("scopes",))


@keys.command()
def rotate(
    caller: Annotated[str, typer.Argument(metavar="CALLER", help="Caller with a valid key, such as gym.")],
    overlap: Annotated[str, typer.Option(help="How long the older keys stay valid, such as 30m, 24h or 7d.")] = "24h",
) -> None:
    """Replace a caller's keys with a new key for the same scopes. Services of the local mesh load it automatically."""
    key = rotate_key(load_settings(), caller, parse_duration("--overlap", overlap))
    if not _write_to_file(key):
        sys.stdout.write(key.key.get_secret_value() + "\n")
        err.print(f"New key for {caller}, shown only once. Older keys expire in {overlap}.", markup=False)


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="Key id, from `solo60 keys list`.")]) -> None:
    """Revoke a key immediately."""
    settings = load_settings()
    had_manager = has_manager(keys_of(settings))
    revoke_key(settings, key_id)
    out.print(f"{key_id} is revoked.", markup=False)
    if had_manager and not has_manager(keys_of(settings)):
        err.print(
            "It was the last valid key with every scope, which the operator needs: `solo60 keys issue operator` issues "
            "another one.",
            markup=False,
        )


def _valid_caller_name(caller: str | None) -> str:
    if caller is None:
        raise CommandError("Give the key a CALLER, such as `solo60 keys issue session`.")
    require_caller_name(caller)
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


def _write_to_file(key: NewKey) -> bool:
    """Write a key to the file of its caller, and return whether the caller has one."""
    if key.file is None:
        return False
    time.sleep(RELOADED_S)
    key.write()
    out.print(f"{key.file} contains the new key of {key.caller}.", markup=False)
    return True


def _minute(instant: datetime | None) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if instant else ""
