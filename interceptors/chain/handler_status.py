"""Status that a handler sets on its gRPC context instead of raising an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from contracts.service_error import status_of_number

if TYPE_CHECKING:
    from interceptors.chain.untyped import AnyContext


class HandlerStatus(Exception):
    """Status that a handler has set on its context, raised to end the call."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        self.details = details
        super().__init__(f"{code.name}: {details}")


def status_set_on(context: AnyContext) -> grpc.StatusCode:
    """Return the status that a handler has set on its context; OK if it has set none."""
    code = context.code()
    if code is None:
        return grpc.StatusCode.OK
    # grpc.aio returns the value as it was set, and accepts numbers too.
    return code if isinstance(code, grpc.StatusCode) else status_of_number(code)


def text_of_details(context: AnyContext) -> str:
    """Return the message that a handler has set on its context; empty if it has set none."""
    # grpc.aio declares bytes but returns text.
    details: str | bytes | None = context.details()
    return details.decode() if isinstance(details, bytes) else details or ""
