"""Incoming call, shared by the server interceptors of a chain."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from interceptors.chain.metadata import PREVIOUS_ATTEMPTS
from interceptors.context import CallContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    import grpc.aio
    from google.protobuf.message import Message

    from contracts.method import Method

    ServicerContext = grpc.aio.ServicerContext[Any, Any]
    # Runs the rest of the chain and the handler.
    Proceed = Callable[["Call"], Awaitable[bytes | None]]
    # Acts at the end of a call. Gets the call, and its error or None.
    Finish = Callable[["Call", BaseException | None], None]
    # Acts at the start of a call, and may return a function for its end. It raises a ServiceError to reject the call.
    Start = Callable[["Call"], Finish | None]
    # Inspects one message of a call; it raises a ServiceError to reject the message.
    MessageHook = Callable[["Call", Message], None]

_DELIVERY_S = 0.005
_ROUNDING = 0.01
_UNLIMITED_S = 1e9

_MAX_DIGITS = 3


class Call:
    """One incoming call, shared by the server interceptors, which set its fields.

    - `metadata`: the last value of each name; `fields` holds all values.
    - `trailing`: metadata sent at the end of the call, however it ends.
    - `notes`: facts for the access log.
    - `allowed_s`: seconds to the sooner deadline on arrival, the caller's or the contract's; 0 if there is neither.
    - `began_s`: time of arrival on the clock of `time.monotonic`.
    - `context`: facts that the handler and its outgoing calls need too, such as caller and correlation id.
    - `trace_id` and `span_id`: ids of the call's trace and span; empty if the trace is not recorded.
    - `remaining_on_arrival_s`: value of `remaining_s` when the call arrived.
    """

    # Not a dataclass, because its constructor would take a tenth longer.
    __slots__ = (
        "allowed_s",
        "began_s",
        "context",
        "fields",
        "incoming",
        "metadata",
        "method",
        "notes",
        "remaining_on_arrival_s",
        "servicer_context",
        "span_id",
        "trace_id",
        "trailing",
    )

    def __init__(
        self,
        method: Method,
        servicer_context: ServicerContext,
        metadata: Mapping[str, str],
        incoming: bytes | AsyncIterator[bytes],
        fields: Sequence[tuple[str, str]] = (),
        remaining_on_arrival_s: float = math.inf,
    ) -> None:
        self.method = method
        self.servicer_context = servicer_context
        self.metadata = metadata
        self.incoming = incoming
        self.fields = fields
        self.began_s = time.monotonic()
        self.remaining_on_arrival_s = remaining_on_arrival_s
        self.allowed_s = 0.0
        self.trace_id = self.span_id = ""
        self.trailing: list[tuple[str, str | bytes]] = []
        self.notes: dict[str, object] = {}
        self.context = CallContext(method=method)

    def __repr__(self) -> str:
        # Tracebacks show this text, so it omits the request, and the metadata, which holds the API key.
        return f"<Call of {self.method.full_name}, correlation id {self.context.correlation_id or 'not known'}>"

    @property
    def remaining_s(self) -> float:
        """Seconds until the caller's deadline; infinite if the caller set none."""
        return remaining_s_of(self.servicer_context)

    def is_out_of_time(self) -> bool:
        """Return whether the call is ending because of the caller's deadline.

        The server's deadline is slightly later than the caller's: the call takes time to arrive, and gRPC's core rounds
        the deadline up by as much as 1 %.
        """
        return self.remaining_s <= max(_DELIVERY_S, _ROUNDING * self.allowed_s)

    @property
    def previous_attempts(self) -> int:
        """Number of times that the caller's gRPC core has sent this call before (gRFC A6)."""
        attempts = self.metadata.get(PREVIOUS_ATTEMPTS)
        return int(attempts) if attempts and len(attempts) <= _MAX_DIGITS and attempts.isdecimal() else 0

    def all_trailing(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return all trailing metadata: the handler's own and `trailing`."""
        return (*(self.servicer_context.trailing_metadata() or ()), *self.trailing)


def remaining_s_of(context: ServicerContext) -> float:
    """Return the seconds until the caller's deadline; infinite if the caller set none."""
    # Without a deadline, grpc.aio returns None although it declares a number. Other servers return a number of 19
    # digits.
    remaining_s: float | None = context.time_remaining()
    return math.inf if remaining_s is None or remaining_s > _UNLIMITED_S else remaining_s
