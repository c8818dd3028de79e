"""Access log: one line for each call, with its correlation id, caller, callee, outcome and duration (S4)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

from interceptors.errors import answer_to
from interceptors.redaction import redacted
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from contracts.errors import ServiceError
    from contracts.method import Method
    from interceptors.server import Proceed

    Write = Callable[[Mapping[str, object]], None]

EVENT = "call"
LOGGER = "solo60.access"

_log = structlog.stdlib.get_logger(LOGGER)


def log_call(facts: Mapping[str, Any]) -> None:
    """Log the facts of one call through structlog."""
    _log.info(EVENT, **facts)


class ServerAccessLog(ServerInterceptor):
    """Logs every call when it has ended; with `log_requests`, its first request too, personal data masked.

    `write` gets the facts of each call: `method`, `caller`, `code`, `duration_ms` and `correlation_id`, for a failed
    call the `reason`, the `trace_id` where `ServerTracing` records it, and its notes. What it raises is logged and
    fails no call. `quiet_services` are not logged: health checks would drown everything else.

    >>> ask(ServerAccessLog(write=lambda facts: print(facts["method"], facts["code"])))
    solo60.example.v1.EchoService/Echo OK
    'hi'
    """

    def __init__(
        self, *, log_requests: bool = False, quiet_services: frozenset[str] = frozenset(), write: Write = log_call
    ) -> None:
        self._log_requests = log_requests
        self._quiet_services = quiet_services
        self._write = write

    def applies_to(self, method: Method) -> bool:
        return method.service not in self._quiet_services

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        began = time.perf_counter()
        try:
            reply = await proceed(call)
        except BaseException as error:
            self._log(call, began, answer_to(error, call))
            raise
        self._log(call, began, None)
        return reply

    def on_request(self, call: Call, message: Message) -> None:
        if self._log_requests:
            call.notes.setdefault("request", redacted(message))

    def _log(self, call: Call, began: float, error: ServiceError | None) -> None:
        facts = {
            **call.notes,
            "method": call.method.full_name,
            "caller": call.caller,
            "code": error.code.name if error else "OK",
            "duration_ms": int((time.perf_counter() - began) * 100_000) / 100,
            "correlation_id": call.correlation_id,
        }
        if error is not None:
            facts["reason"] = error.reason_name()
        if call.trace_id:
            facts["trace_id"] = call.trace_id
        try:
            self._write(facts)
        except Exception as failure:  # noqa: BLE001 - whatever is wrong with the log, the call has its answer
            _log.error("a call could not be logged", method=call.method.full_name, error=type(failure).__name__)
