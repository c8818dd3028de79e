"""Client interceptors: each does one thing around every outgoing call of every shape; `ChainedChannel` runs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from interceptors.chained_call import at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contracts.method import Method

    Finish = Callable[[BaseException | None], None]
    # Sends the request, with `timeout` and `metadata`, and returns grpc.aio's call; to be called any number of times.
    Attempt = Callable[..., Any]
    Send = Callable[["ClientCall", Attempt], Any]
    Notice = Callable[[], None]


@dataclass(slots=True, repr=False)
class ClientCall:
    """One outgoing call, as the interceptors of the client see it: before it is sent, and once it has ended."""

    method: Method
    metadata: list[tuple[str, str | bytes]]
    timeout_s: float | None
    correlation_id: str = ""
    # Where the call's trace is recorded; empty where it is not.
    trace_id: str = ""
    finishing: list[Finish] = field(default_factory=list)
    # How a unary call is sent, where it is not simply sent once; `attempts` counts what is sent from here.
    send: Send | None = None
    attempts: int = 1
    # grpc.aio's call; None where nothing was sent.
    answer: Any = None

    def __repr__(self) -> str:
        # Tracebacks show it: no metadata, which holds the API key.
        return f"<ClientCall of {self.method.full_name}, correlation id {self.correlation_id or 'not known'}>"

    @property
    def trailing(self) -> Mapping[str, str | bytes]:
        """The trailing metadata of a call that has ended; empty where none came. It is read when asked for."""
        answer = self.answer
        return dict(at_once(answer.trailing_metadata())) if answer is not None and answer.done() else {}

    def finish(self, error: BaseException | None) -> None:
        """Tell every interceptor how the call ended, innermost first."""
        # Emptied, because they hold the call that holds them: it would stay until it is collected.
        while self.finishing:
            self.finishing.pop()(error)


class ClientInterceptor:
    """Does one thing before every outgoing call and, if it says so, one when the call has ended."""

    def start(self, call: ClientCall) -> Finish | None:
        """Prepare `call`, or refuse it by raising a ServiceError: then nothing is sent, and the error is the callee's.

        What is returned is called once when the call has ended, with its error or None.
        """
        raise NotImplementedError

    def start_later(self, method: Method) -> None:
        """Look at a call of `method` that is left to an outbox, or refuse it by raising: then it is not left there."""

    def request_hook(self, method: Method) -> Notice | None:  # noqa: ARG002 - for subclasses
        """Return the function to call for each request of `method` that is sent, or None; called once per stub."""
        return None

    def response_hook(self, method: Method) -> Notice | None:  # noqa: ARG002 - for subclasses
        """Return the function to call for each answer of `method` that arrives, or None; called once per stub."""
        return None
