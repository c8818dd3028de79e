"""`solo60 doctor`: checks of the services' databases, of the disk and of the keyring."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import typer

from cli.database_server import database_server
from cli.terminal import CommandError, JsonFlag, out, print_json
from local.disk import disk_trouble_of_mesh
from local.postgres.server import PostgresError
from local.service_databases import check_integrity_of_all
from mesh.config import SettingsError, load_settings
from operations.keys import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.config import Settings
    from mesh.data.integrity import BrokenInvariant, IntegrityReport

SUPERUSER_NOTE = (
    "the service's role is a superuser, so privileges that its migrations revoke are not enforced: "
    "use a role without SUPERUSER in DATABASE_URL"
)


def doctor(*, as_json: JsonFlag = False) -> None:
    """Check databases, disk and keyring, and exit with 0 if all are sound.

    Reports broken invariants, missing migrations, superuser roles, a full disk, and keys with scopes that their callers
    do not need. Checks the databases at DATABASE_URL, else those of the running mesh, else those in DATA_DIR. Changes
    nothing.
    """
    settings = load_settings()
    disk = disk_trouble_of_mesh(settings) if settings.data_dir.is_dir() else ""
    report = asyncio.run(_check_integrity(settings, disk))
    keyring = _troubles_of_keyring(settings)
    if as_json:
        services = {name: _as_json(found) for name, found in report.items()}
        print_json({**services, **_disk_as_json(disk), **_keyring_as_json(keyring)})
    else:
        for name, found in report.items():
            for line in _lines(found):
                out.print(f"{name}: {line}", markup=False)
        if disk:
            out.print(f"DATA_DIR: {disk}", markup=False)
        for trouble in keyring:
            out.print(trouble, markup=False)
    if disk or keyring or not all(found.is_sound for found in report.values()):
        raise typer.Exit(1)


async def _check_integrity(settings: Settings, disk: str) -> dict[str, IntegrityReport]:
    if settings.database_url is None and not settings.postgres_folder.exists():
        raise CommandError(f"There is no database in {settings.data_dir.absolute()}. Create it with `make run`.")
    try:
        async with database_server(settings) as url:
            return await check_integrity_of_all(url)
    except (SettingsError, PostgresError) as error:
        if not disk:
            raise
        raise CommandError(f"DATA_DIR: {disk} ({error})") from None


def _troubles_of_keyring(settings: Settings) -> list[str]:
    """Return one line for each valid key with scopes that its caller does not need, or why there is no keyring."""
    try:
        found = keys_of(settings)
    except SettingsError as error:
        return [str(error)]
    return [
        f"KEYRING_FILE: key {key.record.key_id} of {key.record.caller} has needless scopes: "
        f"{', '.join(sorted(key.needless_scopes))} (issue another key with `solo60 keys issue`, then "
        f"`solo60 keys revoke {key.record.key_id}`)"
        for key in found
        if key.needless_scopes
    ]


def _lines(found: IntegrityReport) -> Iterator[str]:
    if found.is_sound:
        yield "sound"
    if found.trouble:
        yield found.trouble
    if found.pending:
        yield f"migrations are missing: {', '.join(found.pending)} (`solo60 migrate` applies them)"
    if found.is_superuser:
        yield SUPERUSER_NOTE
    for broken in found.broken_invariants:
        yield f"{broken.view} has {broken.count} {'row' if broken.count == 1 else 'rows'}:"
        yield from (f"  {example}" for example in broken.examples)
        if broken.count > len(broken.examples):
            yield "  ..."


def _disk_as_json(disk: str) -> dict[str, object]:
    return {"disk": {"sound": False, "trouble": disk}} if disk else {}


def _keyring_as_json(troubles: list[str]) -> dict[str, object]:
    return {"keyring": {"sound": False, "troubles": troubles}} if troubles else {}


def _as_json(found: IntegrityReport) -> dict[str, object]:
    return {
        "sound": found.is_sound,
        "trouble": found.trouble,
        "pending_migrations": list(found.pending),
        "superuser": found.is_superuser,
        "violations": [_invariant_as_json(broken) for broken in found.broken_invariants],
    }


def _invariant_as_json(broken: BrokenInvariant) -> dict[str, object]:
    examples = [json.loads(example) for example in broken.examples]
    return {"view": broken.view, "count": broken.count, "examples": examples}
