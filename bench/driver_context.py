"""Driver context: gRPC's context of one call, as far as a call of one message each way asks for it; no network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Sequence

    Metadata = Sequence[tuple[str, str | bytes]]

TIMEOUT_S = 2.0


class DriverContext:
    """The context of a call that came with `metadata` from a client on this machine, with two seconds to go."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._ends = time.monotonic() + TIMEOUT_S
        self._trailing: Metadata = ()

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float:
        return self._ends - time.monotonic()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:50000"

    def code(self) -> None:
        return None

    def details(self) -> str:
        return ""

    def trailing_metadata(self) -> Metadata:
        return self._trailing

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self._trailing = metadata

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Send nothing."""

    async def abort(self, code: object, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:  # noqa: ARG002 - as in gRPC
        raise grpc.aio.AbortError(f"{code}: {details}")

    def add_done_callback(self, callback: object) -> None:
        """Tell nobody: a call that ends well tells nothing."""

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return False
