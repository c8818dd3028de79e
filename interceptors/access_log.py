"""Access log: one line for each call, with its correlation id, caller, callee, outcome and duration (S4)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import structlog

from interceptors.errors import answer_to
from interceptors.redaction import redacted
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.errors import ServiceError
    from contracts.method import Method
    from interceptors.server import Proceed

_log = structlog.stdlib.get_logger("solo60.access")


class ServerAccessLog(ServerInterceptor):
    """Logs every call when it has ended; with `log_requests`, its first request too, personal data masked.

    `quiet_services` are not logged: health checks would drown everything else.
    """

    def __init__(self, *, log_requests: bool = False, quiet_services: frozenset[str] = frozenset()) -> None:
        self._log_requests = log_requests
        self._quiet_services = quiet_services

    def applies_to(self, method: Method) -> bool:
        return method.service not in self._quiet_services

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        began = time.perf_counter()
        try:
            reply = await proceed(call)
        except BaseException as error:
            self._write(call, began, answer_to(error, call))
            raise
        self._write(call, began, None)
        return reply

    def on_request(self, call: Call, message: Message) -> None:
        if self._log_requests:
            call.notes.setdefault("request", redacted(message))

    def _write(self, call: Call, began: float, error: ServiceError | None) -> None:
        facts = dict(call.notes)
        if error is not None:
            facts["reason"] = error.reason_name()
        _log.info(
            "call",
            method=call.method.full_name,
            caller=call.caller,
            code=(error.code if error else grpc.StatusCode.OK).name,
            duration_ms=round((time.perf_counter() - began) * 1000, 2),
            correlation_id=call.correlation_id,
            **facts,
        )
