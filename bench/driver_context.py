"""Stand-in for gRPC's context of a unary call, without a network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Sequence

    Metadata = Sequence[tuple[str, str | bytes]]

TIMEOUT_S = 2.0


class DriverContext:
    """Context of a call with `metadata` from a client on this machine, with two seconds left."""

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
        """Ignore the metadata, because no client reads it."""

    async def abort(self, code: object, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:  # noqa: ARG002 - as in gRPC
        raise grpc.aio.AbortError(f"{code}: {details}")

    def add_done_callback(self, callback: object) -> None:
        """Ignore the callback, because it matters only for failed calls."""

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return False
