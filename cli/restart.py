"""`solo60 restart`: graceful restart of one part of a running mesh."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cli.terminal import CommandError, JsonFlag, out, print_json
from contracts.services import SERVICE_NAMES
from local.control import send_command
from local.parts import ALL_SERVICES, CONSOLE, POSTGRES
from mesh.config import load_settings

PARTS = (*SERVICE_NAMES, ALL_SERVICES, POSTGRES, CONSOLE)


def restart(
    part: Annotated[str, typer.Argument(metavar="PART", help=f'Service, such as "gym", "{POSTGRES}" or "{CONSOLE}".')],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Restart a service, the PostgreSQL or the console of the running mesh, and wait until it is SERVING.

    "services" is the process of all services in a mesh of `solo60 up --one-process`.
    """
    if part not in PARTS:
        raise CommandError(f'There is no part "{part}". Parts: {", ".join(PARTS)}.')
    answer = asyncio.run(send_command(load_settings().data_dir, verb="restart", part=part))
    if as_json:
        print_json(answer)
    else:
        out.print(f"{part}: {answer['state']}", markup=False)
