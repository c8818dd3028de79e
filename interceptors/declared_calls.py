"""Declared calls: a method may make only the calls that its contract lists."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from contracts.declarations import undeclared_call, undeclared_later_call
from contracts.policy import ContractError
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.context import current_context
from interceptors.rate_limit.gcra import Gcra

if TYPE_CHECKING:
    from collections.abc import Callable

    from contracts.method import Method

# Minimum time between two log lines about the same pair of methods.
WARNING_INTERVAL_S = 60.0

# Problems of all pairs of a served and a called method that this process has checked, by their paths. The text is empty
# if the call is declared. Contracts do not change while a process runs, so all interceptors share the result.
CHECKED_CALLS: dict[tuple[str, str], str] = {}
CHECKED_LATER_CALLS: dict[tuple[str, str], str] = {}

_log = structlog.stdlib.get_logger("solo60.contracts")


class ClientDeclaredCalls(ClientInterceptor):
    """Client interceptor that logs calls missing from the `calls` of the method being served.

    A call through an outbox must be listed in `calls_later`. With `reject`, an undeclared call is not sent, and the
    handler gets a ContractError. The scopes of the service's key cannot replace this check, because another method may
    need them. Detached work serves no method, so it may make any call. `clock` is monotonic, in seconds.
    """

    def __init__(self, *, reject: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._rejects = reject
        self._clock = clock
        self._warnings = Gcra(1 / WARNING_INTERVAL_S, burst=1)

    def start(self, call: ClientCall) -> None:
        context = call.served
        if context is None or context.method is None:
            return
        pair = context.method.path, call.method.path
        problem = CHECKED_CALLS.get(pair)
        if problem is None:
            problem = CHECKED_CALLS[pair] = undeclared_call(context.method, call.method)
        if problem:
            self._reject_or_warn(problem, context.method, call.method)

    def start_later(self, method: Method) -> None:
        context = current_context()
        if context is None or context.method is None:
            return
        pair = context.method.path, method.path
        problem = CHECKED_LATER_CALLS.get(pair)
        if problem is None:
            problem = CHECKED_LATER_CALLS[pair] = undeclared_later_call(context.method, method)
        if problem:
            self._reject_or_warn(problem, context.method, method)

    def _reject_or_warn(self, problem: str, serving: Method, called: Method) -> None:
        if self._rejects:
            raise ContractError(problem)
        if self._warnings.admit(problem, self._clock()) == 0:
            _log.warning("undeclared call", problem=problem, method=serving.full_name, callee=called.full_name)
