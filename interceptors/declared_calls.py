"""Declared calls: serving a method, a service calls the methods that its contract names, and no others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from contracts.declarations import undeclared_call, undeclared_later_call
from contracts.policy import ContractError
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.context import current_context
from interceptors.gcra import Gcra

if TYPE_CHECKING:
    from collections.abc import Callable

    from contracts.method import Method

# Each undeclared pair of methods is logged no more often than this.
WARNING_INTERVAL_S = 60.0

_log = structlog.stdlib.get_logger("solo60.contracts")


class ClientDeclaredCalls(ClientInterceptor):
    """Logs a call that the method being served does not name in `calls`, or in `calls_later` where an outbox makes it.

    With `refuse`, nothing is sent, and the handler gets a ContractError. The scopes of the key play no part: a service
    may be entitled to a call for the sake of another method. Work that no call waits for serves no method, so it is
    free. `clock` is monotonic, in seconds.
    """

    def __init__(self, *, refuse: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._refuses = refuse
        self._clock = clock
        self._warnings = Gcra(1 / WARNING_INTERVAL_S, burst=1)
        # By the path of the method that is served and of the one that is called: empty where the call is declared.
        self._problems: dict[tuple[str, str], str] = {}
        self._problems_later: dict[tuple[str, str], str] = {}

    def start(self, call: ClientCall) -> None:
        context = current_context()
        if context is None or context.method is None:
            return
        pair = context.method.path, call.method.path
        problem = self._problems.get(pair)
        if problem is None:
            problem = self._problems[pair] = undeclared_call(context.method, call.method)
        if problem:
            self._object(problem, context.method, call.method)

    def start_later(self, method: Method) -> None:
        context = current_context()
        if context is None or context.method is None:
            return
        pair = context.method.path, method.path
        problem = self._problems_later.get(pair)
        if problem is None:
            problem = self._problems_later[pair] = undeclared_later_call(context.method, method)
        if problem:
            self._object(problem, context.method, method)

    def _object(self, problem: str, serving: Method, called: Method) -> None:
        if self._refuses:
            raise ContractError(problem)
        if self._warnings.admit(problem, self._clock()) == 0:
            _log.warning("undeclared call", problem=problem, method=serving.full_name, callee=called.full_name)
