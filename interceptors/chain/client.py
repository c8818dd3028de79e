"""Base class of client interceptors, and the outgoing call that they share.

`ChainedChannel` runs the interceptors, for calls of every RPC shape.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from interceptors.chain.immediate import status_part
from interceptors.chain.pipeline import finish_all, reject_unused_start
from interceptors.context import current_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contracts.method import Method
    from interceptors.context import CallContext

    # Acts at the end of a call. Gets the call, and its error or None.
    ClientFinish = Callable[["ClientCall", BaseException | None], None]
    # Acts at the start of a call, and may return a function for its end. It raises a ServiceError to reject the call.
    ClientStart = Callable[["ClientCall"], ClientFinish | None]
    # Sends the request with `timeout` and `metadata`, and returns grpc.aio's call. May be called repeatedly.
    Attempt = Callable[..., Any]
    Send = Callable[["ClientCall", Attempt], Any]
    MessageListener = Callable[[], None]


class ClientCall:
    """One outgoing call, shared by the client interceptors before it is sent and after it has ended.

    - `served`: context of the call or detached work that makes this call; None outside of both.
    - `began_s`: time of its start on the clock of `time.monotonic`.
    - `trace_id` and `span_id`: ids of the call's trace and span; empty if the trace is not recorded.
    - `send`: function that sends a unary call in place of a single attempt, for hedging; None without hedging.
    - `attempts`: number of attempts sent here, without the retries of gRPC's core.
    - `rpc`: grpc.aio's call; None if nothing was sent.
    """

    # Not a dataclass, because its constructor would take a tenth longer.
    __slots__ = (
        "attempts",
        "began_s",
        "correlation_id",
        "finish_callbacks",
        "metadata",
        "method",
        "rpc",
        "send",
        "served",
        "span_id",
        "timeout_s",
        "trace_id",
    )

    def __init__(self, method: Method, metadata: list[tuple[str, str | bytes]], timeout_s: float | None) -> None:
        self.method = method
        self.metadata = metadata
        self.timeout_s = timeout_s
        self.served: CallContext | None = current_context()
        self.began_s = time.monotonic()
        self.correlation_id = self.trace_id = self.span_id = ""
        self.finish_callbacks: list[ClientFinish] = []
        self.send: Send | None = None
        self.attempts = 1
        self.rpc: Any = None

    def __repr__(self) -> str:
        # Tracebacks show this text, so it omits the metadata, which holds the API key.
        return f"<ClientCall of {self.method.full_name}, correlation id {self.correlation_id or 'not known'}>"

    @property
    def trailing(self) -> Mapping[str, str | bytes]:
        """Trailing metadata of a finished call, read on each access; empty if none arrived."""
        rpc = self.rpc
        return dict(status_part(rpc.trailing_metadata())) if rpc is not None and rpc.done() else {}

    def finish(self, error: BaseException | None) -> None:
        """Report the end of the call to each interceptor, innermost first.

        The error of a function of an interceptor replaces that of the call for the outer ones, and is raised at the
        end.
        """
        # This empties the list: its callbacks reference this call, and the cycle would delay its release to a garbage
        # collection.
        final = finish_all(self.finish_callbacks, self, error)
        if final is None or final is error:
            return
        try:
            raise final
        finally:
            del error, final  # the traceback holds this frame


class ClientInterceptor:
    """Base class of client interceptors: one action before each call, and optionally one after it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        reject_unused_start(cls, ClientInterceptor)

    def applies_to(self, method: Method) -> bool:  # noqa: ARG002 - for subclasses
        """Return whether this interceptor handles calls of `method`. Called once per stub."""
        return True

    def start(self, call: ClientCall) -> ClientFinish | None:
        """Prepare `call`, or raise a ServiceError to reject it before anything is sent.

        The chain sets the error's `callee`. Return a function to be called once when the call has ended, with the call
        and its error or None, or return None.
        """
        kind = type(self)
        if kind.start is ClientInterceptor.start and kind.start_of is not ClientInterceptor.start_of:
            return self.start_of(call.method)(call)
        raise NotImplementedError

    def start_of(self, method: Method) -> ClientStart:  # noqa: ARG002 - for subclasses
        """Return the function that starts each call of `method`. Called once per stub.

        Override this method instead of `start` to look up the policy of a method once, not on each call. Subclasses of
        such a class override `start_of` too, never `start`.
        """
        return self.start

    def start_later(self, method: Method) -> None:
        """Check a call of `method` before it is stored in an outbox; raise to reject it."""

    def request_hook(self, method: Method) -> MessageListener | None:  # noqa: ARG002 - for subclasses
        """Return the function to call for each request of `method` that is sent, or None. Called once per stub."""
        return None

    def response_hook(self, method: Method) -> MessageListener | None:  # noqa: ARG002 - for subclasses
        """Return the function to call for each response of `method` that arrives, or None. Called once per stub."""
        return None
