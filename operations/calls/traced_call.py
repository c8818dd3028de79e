"""One call of any method under a trace of its own, with its duration, the time of each service and its ids."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry import trace

from contracts.errors import ServiceError
from contracts.metadata import CORRELATION_ID
from interceptors.deadline.ledger import read_ledger
from interceptors.tracing.span_attributes import tracer_of
from operations.calls.requests import stub_of
from operations.calls.trailing_metadata import trailing_metadata_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.chain.untyped import AnyCall
    from interceptors.deadline.ledger import Hop
    from mesh.serving.channel import Channels


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Options of a call. `timeout_s` is None for the deadline of the contract. `at` is as for `stub_of`."""

    metadata: tuple[tuple[str, str], ...] = ()
    timeout_s: float | None = None
    at: str = ""


@dataclass(slots=True)
class TracedCall:
    """One call, and facts about it.

    `trace_id` is known as soon as the call starts, and `is_sampled` is True if the trace is stored. `ledger` has the
    time that each service spent, the call itself first. It is empty after a cancellation, and without an answer.
    """

    method: Method
    request: Message
    options: CallOptions = field(default_factory=CallOptions)
    trace_id: str = ""
    is_sampled: bool = False
    correlation_id: str = ""
    duration_ms: float = 0.0
    ledger: list[Hop] = field(default_factory=list)

    async def run(self, channels: Channels, program: str, on_response: Callable[[Message], None]) -> None:
        """Make the call as `program` ("solo60.cli"), and pass each response to `on_response`; raise ServiceError."""
        invoke = getattr(stub_of(channels, self.method, self.options.at), self.method.name)
        with tracer_of(trace.get_tracer_provider(), program).start_as_current_span("call") as span:
            self.trace_id = f"{span.get_span_context().trace_id:032x}"
            self.is_sampled = span.is_recording()
            start_s = time.perf_counter()
            try:
                rpc = invoke(self.request, timeout=self.options.timeout_s, metadata=self.options.metadata)
                if self.method.response_streaming:
                    async for response in rpc:
                        on_response(response)
                else:
                    on_response(await rpc)
                await self._note_trailing(rpc)
            except ServiceError as error:
                self.correlation_id = error.correlation_id
                await self._note_trailing(rpc)
                raise
            finally:
                self.duration_ms = (time.perf_counter() - start_s) * 1000

    async def _note_trailing(self, rpc: AnyCall) -> None:
        trailing = await trailing_metadata_of(rpc)
        self.ledger = list(read_ledger(trailing))
        found = next((value for name, value in trailing if name == CORRELATION_ID), "")
        self.correlation_id = str(found) or self.correlation_id
