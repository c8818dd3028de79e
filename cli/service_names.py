"""Check of service names in arguments."""

from __future__ import annotations

from cli.terminal import CommandError
from contracts.services import SERVICE_NAMES


def require_service(name: str) -> str:
    """Return `name`; raise CommandError with the names of all services if it is not one of them."""
    if name not in SERVICE_NAMES:
        raise CommandError(f'"{name}" is not a service. Services: {", ".join(SERVICE_NAMES)}.')
    return name
