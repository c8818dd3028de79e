"""Program that runs the echo service like any other service, but without a database.

The environment variable NOISE sets how many lines of each of KINDS the process writes without using its log. CRASH is
the text of an exception that ends the process. Callers need a key only if KEYRING_FILE is set.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from interceptors.keys.keyring import Keyring
from mesh.serving.engine import new_server
from mesh.serving.keyring_file import accepted_keys
from mesh.serving.program import run
from mesh.serving.server import server_interceptors
from mesh.telemetry.metrics import serve_metrics
from solo60.example.v1.echo_pb2_grpc import add_EchoServiceServicer_to_server
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.config import Settings

NAME = "echo"
KINDS = ("printed", "to standard error", "by a library in C", "a warning")


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[None]:
    """Write the lines that NOISE asks for, and serve at LISTEN_ADDRESS."""
    keyring = Keyring if settings.keyring_file is None else accepted_keys(settings)
    server = new_server(settings.engine, server_interceptors(settings, keyring))
    add_EchoServiceServicer_to_server(EchoServicer(), server)
    server.add_insecure_port(settings.listen_address_of(NAME))
    for number in range(int(os.environ.get("NOISE", "0"))):
        make_noise(number)
    if "CRASH" in os.environ:
        raise RuntimeError(os.environ["CRASH"])
    async with serve_metrics(settings.metrics_address, is_exported=settings.collector_of("metrics") is not None):
        await server.start()
        yield
        await server.stop(0)


def make_noise(number: int) -> None:
    """Write one line of each of KINDS without using the log."""
    printed, to_stderr, in_c, warned = KINDS
    sys.stdout.write(f"{printed} {number}\n")
    sys.stdout.flush()
    sys.stderr.write(f"{to_stderr} {number}\n")
    with suppress(BlockingIOError):  # a library in C ignores a full pipe
        os.write(2, f"{in_c} {number}\n".encode())
    warnings.warn(f"{warned} {number}", stacklevel=1)


if __name__ == "__main__":
    run(NAME, serving)
