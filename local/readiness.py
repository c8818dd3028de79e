"""Readiness checks: wait until a started service reports SERVING, or the console answers."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from contracts.services import SERVICES
from local.child import POLL_INTERVAL_S
from local.keys import OPERATOR
from local.parts import MeshError
from mesh.serving.health_probe import SERVING, probe_of

if TYPE_CHECKING:
    from local.child import Child
    from mesh.config import Settings

START_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 5.0


async def wait_until_serving(child: Child, name: str, settings: Settings) -> None:
    """Wait until a service of a started process is SERVING.

    Raises MeshError with the last output of the process if the service fails or takes too long.
    """
    give_up_at = time.monotonic() + START_TIMEOUT_S
    key = settings.key_path_of(OPERATOR).read_text(encoding="utf-8").strip()
    address, service = settings.listen_address_of(name), SERVICES[name].full_name
    async with probe_of(address, service, key=key) as probe:
        while (status := await probe()) != SERVING:
            if child.exit_code is not None:
                raise MeshError(f"{child.name} did not start: {child.last_output()} (log: {child.log})")
            if time.monotonic() > give_up_at:
                raise MeshError(
                    f"{name} is {status} after {START_TIMEOUT_S:.0f} s: {child.last_output()} (log: {child.log})"
                )
            await asyncio.sleep(POLL_INTERVAL_S)


async def wait_until_answering(child: Child, address: str) -> None:
    """Return once a started console answers at `address`; raise MeshError as `wait_until_serving` does."""
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while not await asyncio.to_thread(answers, address):
        if child.exit_code is not None:
            raise MeshError(f"{child.name} did not start: {child.last_output()} (log: {child.log})")
        if time.monotonic() > give_up_at:
            raise MeshError(f"{child.name} does not answer after {START_TIMEOUT_S:.0f} s (log: {child.log})")
        await asyncio.sleep(POLL_INTERVAL_S)


def answers(address: str) -> bool:
    """Return whether a console answers at `address`."""
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/ready", headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
