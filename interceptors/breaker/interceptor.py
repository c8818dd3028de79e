"""Circuit breakers for outgoing calls: they reject calls at once while a method keeps failing."""

from __future__ import annotations

import time
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING

import grpc

from contracts.codes import CALLEE_FAULTS, UNRELATED_TO_HEALTH
from contracts.errors import CircuitOpen
from contracts.metadata import STATUS_DETAILS
from contracts.service_error import PLATFORM_REASONS, ServiceError
from interceptors.breaker.circuit import DEFAULT_LIMITS, Circuit, Outcome
from interceptors.chain.client import ClientCall, ClientInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from contracts.method import Method
    from interceptors.breaker.circuit import Limits
    from interceptors.chain.client import ClientFinish

# Looked up once, because every call needs it.
_SUCCESS = Outcome.SUCCESS
# A caller that allows less than this share of the contract's deadline causes its own DEADLINE_EXCEEDED.
MIN_SHARE_OF_DEADLINE = 0.1


class Breakers:
    """Circuits of one process: one per called method, shared by all channels."""

    def __init__(
        self,
        rng: Random | None = None,
        now: Callable[[], float] = time.monotonic,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.now = now
        self._limits = limits
        self._rng = rng or SystemRandom()
        self._circuits: dict[str, Circuit] = {}

    def of(self, method: str) -> Circuit:
        """Return the circuit of a method, given its full name ("solo60.gym.v1.GymService/GetGym")."""
        circuit = self._circuits.get(method)
        if circuit is None:
            circuit = self._circuits[method] = Circuit(self._rng, self._limits)
        return circuit

    def states(self) -> dict[str, str]:
        """Return "closed", "half-open" or "open" for each called method, by full name."""
        now = self.now()
        # Copy first, because metrics are collected in another thread.
        return {method: circuit.state(now).value for method, circuit in list(self._circuits.items())}


class ClientBreaker(ClientInterceptor):
    """Client interceptor that rejects calls of a failing method with CircuitOpen, without sending them.

    UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL and UNKNOWN count as failures. Rejections and cancellations do not, nor
    does DEADLINE_EXCEEDED after less than a tenth of the contract's deadline. Place this interceptor innermost, so that
    it counts no call that another interceptor rejected. Methods with a response stream are not covered, because a
    stream reports its outcome only at its end.

    >>> call_echo(clients=[ClientBreaker(Breakers())])
    'hi'
    """

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers
        self._now = breakers.now

    def applies_to(self, method: Method) -> bool:
        return not (method.response_streaming or method.is_foreign)

    def start(self, call: ClientCall) -> ClientFinish:
        circuit = self._breakers.of(call.method.full_name)
        admitted = circuit.admit(self._now())
        if admitted is None:
            raise _rejection(call.method, circuit.retry_after_s(self._now()))
        return partial(self._finish, circuit, admitted)

    def _finish(self, circuit: Circuit, admitted: int, call: ClientCall, error: BaseException | None) -> None:
        circuit.record(admitted, _SUCCESS if error is None else outcome_of(error, call), self._now())


def _rejection(method: Method, retry_after_s: float) -> CircuitOpen:
    return CircuitOpen(
        f"{method.full_name} keeps failing: the circuit breaker is open and the call was not sent.",
        retry_after_s=retry_after_s,
    )


def outcome_of(error: BaseException, call: ClientCall) -> Outcome:
    """Return the outcome to record after `call` ended with `error`."""
    if not isinstance(error, ServiceError):
        return Outcome.UNCOUNTED
    if error.code in CALLEE_FAULTS:
        return _fault(error, call)
    if error.reason in PLATFORM_REASONS or error.code in UNRELATED_TO_HEALTH:
        return Outcome.UNCOUNTED
    return Outcome.SUCCESS  # a domain error: the method works


def _fault(error: ServiceError, call: ClientCall) -> Outcome:
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        min_s = MIN_SHARE_OF_DEADLINE * call.method.policy.deadline_s
        timeout_s = call.timeout_s
        return Outcome.FAILURE if timeout_s is None or timeout_s >= min_s else Outcome.UNCOUNTED
    # Mesh servers attach status details to UNAVAILABLE. Without details, the error is the transport's: no server was
    # reached.
    if error.code is grpc.StatusCode.UNAVAILABLE and STATUS_DETAILS not in call.trailing:
        return Outcome.UNREACHABLE
    return Outcome.FAILURE
