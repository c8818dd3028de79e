"""Advice after an unanswered call: the likely reason, and the command to run next."""

from __future__ import annotations

import asyncio

from cli.terminal import err
from contracts.errors import ServiceError, Unavailable
from mesh.config import load_settings
from operations.health.report import finding_lines, health_of_all


def print_advice(error: ServiceError) -> None:
    """Print the services that are not SERVING, with reason and remedy, if `error` is Unavailable."""
    if not isinstance(error, Unavailable):
        return
    lines = finding_lines(asyncio.run(health_of_all(load_settings())))
    for line in lines:
        err.print(line, markup=False)
    if not lines and not error.correlation_id:
        err.print("The call was not answered, but all services are SERVING now. Try again.")
