"""`solo60 relay`: an additional relay for the outbox of one service."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from cli.service_names import require_service
from mesh.serving.process import relay_outbox
from mesh.serving.program import run


def relay(service: Annotated[str, typer.Argument(metavar="SERVICE", help='Service, such as "session".')]) -> None:
    """Run one more relay for the outbox of a service, with the service's settings and key, until Ctrl-C.

    Set DATABASE_URL, SERVICE_API_KEY_FILE or SERVICE_API_KEY, and CLOCK_FILE for a movable clock, as for the service.
    Each process of a service runs a relay too, so a local mesh needs no additional one.
    """
    run(require_service(service), partial(relay_outbox, service))
