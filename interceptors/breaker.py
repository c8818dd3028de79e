"""Circuit breaker: a method that keeps failing is left alone for a while, and its caller is told so at once."""

from __future__ import annotations

import time
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING

import grpc

from contracts.errors import CircuitOpen
from contracts.method import OUR_PACKAGE
from contracts.service_error import PLATFORM_REASONS, ServiceError
from interceptors.circuit import Circuit, Outcome
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.errors import STATUS_DETAILS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from contracts.method import Method
    from interceptors.client import Finish

# What may be a fault of the callee: never what it refuses, nor what its caller has cancelled.
FAULTS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
# A refusal with one of these says nothing of how the method does: limiters and checks answer so, and callers give up.
UNCOUNTED = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
# Looked up once: this is on the path of every call.
_SUCCESS = Outcome.SUCCESS
# Whoever gives a call less of the contract's deadline than this has itself to blame when it is over.
LEAST_SHARE_OF_DEADLINE = 0.1


class Breakers:
    """The circuits of one process, one for each method that it calls, whatever channel a call goes through."""

    def __init__(self, rng: Random | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._rng = rng or SystemRandom()
        self._circuits: dict[str, Circuit] = {}

    def of(self, method: str) -> Circuit:
        """Return the circuit of a method, by its full name ("solo60.gym.v1.GymService/GetGym")."""
        circuit = self._circuits.get(method)
        if circuit is None:
            circuit = self._circuits[method] = Circuit(self._rng)
        return circuit

    def states(self) -> dict[str, str]:
        """Return "closed", "half-open" or "open" for each method that has been called, by its full name."""
        now = self.now()
        # Copied first: metrics ask from a thread of their own.
        return {method: circuit.state(now).value for method, circuit in list(self._circuits.items())}


class ClientBreaker(ClientInterceptor):
    """Refuses calls of a method that keeps failing with CircuitOpen, and sends nothing.

    UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL and UNKNOWN are failures; that a call was refused, cancelled or given
    hardly any time is not. It stands innermost: what another interceptor refuses is none of its calls. Endless
    streams, which tell how they did only when they end, pass it.

    >>> ask(clients=[ClientBreaker(Breakers())])
    'hi'
    """

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers
        self._now = breakers.now
        self._circuits: dict[str, Circuit | None] = {}

    def start(self, call: ClientCall) -> Finish | None:
        try:
            circuit = self._circuits[call.method.path]
        except KeyError:
            circuit = self._circuits[call.method.path] = self._circuit_of(call.method)
        if circuit is None:
            return None
        admitted = circuit.admit(self._now())
        if admitted is None:
            raise _refusal(call.method, circuit.retry_after_s(self._now()))
        return partial(self._finish, call, circuit, admitted)

    def _circuit_of(self, method: Method) -> Circuit | None:
        if method.response_streaming or not method.service.startswith(OUR_PACKAGE):
            return None
        return self._breakers.of(method.full_name)

    def _finish(self, call: ClientCall, circuit: Circuit, admitted: int, error: BaseException | None) -> None:
        circuit.record(admitted, _SUCCESS if error is None else outcome_of(error, call), self._now())


def _refusal(method: Method, retry_after_s: float) -> CircuitOpen:
    return CircuitOpen(f"{method.full_name} kept failing: nothing was sent.", retry_after_s=retry_after_s)


def outcome_of(error: BaseException, call: ClientCall) -> Outcome:
    """Return what the end of `call` with `error` says of its method."""
    if not isinstance(error, ServiceError):
        return Outcome.UNCOUNTED
    if error.code in FAULTS:
        return _fault(error, call)
    if error.reason in PLATFORM_REASONS or error.code in UNCOUNTED:
        return Outcome.UNCOUNTED
    return Outcome.SUCCESS  # a refusal by the domain, which is alive


def _fault(error: ServiceError, call: ClientCall) -> Outcome:
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        least_s = LEAST_SHARE_OF_DEADLINE * call.method.policy.deadline_s
        given_s = call.timeout_s
        return Outcome.FAILURE if given_s is None or given_s >= least_s else Outcome.UNCOUNTED
    # A server of the mesh says with details why it is not available; the transport alone says nothing.
    if error.code is grpc.StatusCode.UNAVAILABLE and STATUS_DETAILS not in call.trailing:
        return Outcome.UNREACHABLE
    return Outcome.FAILURE
