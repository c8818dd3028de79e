"""Advice after a call that nobody answered: the likely reason, and the command to type next."""

from __future__ import annotations

import asyncio

from cli.screen import remarks
from contracts.errors import ServiceError, Unavailable
from mesh.config import load_settings


def print_advice(error: ServiceError) -> None:
    """Look at the services where one was unavailable, and name those that are not SERVING, each with its reason."""
    if not isinstance(error, Unavailable):
        return
    from cli.health import finding_lines, health_of_all  # noqa: PLC0415 - costs time, and few commands need it

    lines = finding_lines(asyncio.run(health_of_all(load_settings())))
    for line in lines:
        remarks.print(line, markup=False)
    if not lines and not error.correlation_id:
        remarks.print("Nobody answered; by now all services are SERVING: try again.")
