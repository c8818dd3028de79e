"""Access log: one line per call with correlation id, caller, method, outcome and duration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

from contracts.redaction import redacted
from interceptors.chain.server import ServerInterceptor
from interceptors.errors.caller_error import caller_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.chain.call import Call, Finish, MessageHook, Start

    Write = Callable[[Mapping[str, object]], None]

EVENT = "call"
LOGGER = "solo60.access"

_log = structlog.stdlib.get_logger(LOGGER)


def log_call(facts: Mapping[str, Any]) -> None:
    """Log the facts of one call through structlog."""
    _log.info(EVENT, **facts)


class ServerAccessLog(ServerInterceptor):
    """Server interceptor that logs each call when it has ended.

    With `log_requests`, the line includes the first request, with personal data masked. Calls of `quiet_services`
    and `quiet_methods` are not logged, because health checks and other polling would fill the log.

    `write` receives the facts of each call: `method`, `caller`, `code`, `duration_ms`, `correlation_id` and the call's
    notes. A failed call adds `reason`. A call recorded by `ServerTracing` adds `trace_id` and `span_id`. An
    exception raised by `write` is logged and does not fail the call.

    >>> call_echo(ServerAccessLog(write=lambda facts: print(facts["method"], facts["code"])))
    solo60.example.v1.EchoService/Echo OK
    'hi'
    >>> quiet = frozenset({"solo60.example.v1.EchoService/Echo"})
    >>> call_echo(ServerAccessLog(quiet_methods=quiet, write=lambda facts: print(facts["method"])))
    'hi'
    """

    def __init__(
        self,
        *,
        log_requests: bool = False,
        quiet_services: frozenset[str] = frozenset(),
        quiet_methods: frozenset[str] = frozenset(),
        write: Write = log_call,
    ) -> None:
        self._log_requests = log_requests
        self._quiet_services = quiet_services
        self._quiet_methods = quiet_methods
        self._write = write

    def applies_to(self, method: Method) -> bool:
        return method.service not in self._quiet_services and method.full_name not in self._quiet_methods

    def start_of(self, method: Method) -> Start:
        name, write = method.full_name, self._write

        def start(call: Call) -> Finish:  # noqa: ARG001 - the line is about the end of the call
            return finish

        def finish(call: Call, error: BaseException | None) -> None:
            rejection = None if error is None else caller_error(error, call)
            facts = {
                **call.notes,
                "method": name,
                "caller": call.context.caller,
                "code": "OK" if rejection is None else rejection.code.name,
                "duration_ms": int((time.monotonic() - call.began_s) * 100_000) / 100,
                "correlation_id": call.context.correlation_id,
            }
            if rejection is not None:
                facts["reason"] = rejection.reason_name()
            if call.trace_id:
                facts["trace_id"], facts["span_id"] = call.trace_id, call.span_id
            try:
                write(facts)
            except Exception as failure:  # noqa: BLE001 - a logging failure must not fail the call
                _log.error("a call could not be logged", method=name, error=type(failure).__name__)

        return start

    def request_hook(self, method: Method) -> MessageHook | None:  # noqa: ARG002 - the same for all methods
        return _note_first_request if self._log_requests else None


def _note_first_request(call: Call, message: Message) -> None:
    call.notes.setdefault("request", redacted(message))
