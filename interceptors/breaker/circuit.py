"""Circuit: state machine of a circuit breaker for one method, without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class State(StrEnum):
    """State of a circuit: all calls pass, a few probes pass, or calls are rejected."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class Outcome(Enum):
    """Outcome of a call: UNREACHABLE is a failure without a response, UNCOUNTED does not affect the circuit."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNREACHABLE = "unreachable"
    UNCOUNTED = "uncounted"


# Looked up once, because every call needs them.
CLOSED, HALF_OPEN, OPEN = State
SUCCESS, FAILURE, UNREACHABLE, UNCOUNTED = Outcome


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds for opening and closing a circuit. Times are in seconds.

    A circuit opens in three cases:

    - `failure_ratio` of at least `min_calls` calls in the window failed, and this lasted for `min_failing_s`. In that
      time gRPC's core drops a single bad address.
    - `immediate_open_ratio` of these calls failed.
    - `unreachable_in_a_row` consecutive calls did not reach a server.

    The circuit stays open for `open_s`, doubled each time up to `max_open_s`. If no server is reachable, the time grows
    from `unreachable_open_s` to `max_unreachable_open_s`, because gRPC's core itself reconnects every few seconds.
    Each time is multiplied by a random factor from 1 - `jitter` to 1 + `jitter`. The circuit closes after `probes`
    successes. The defaults follow Envoy, gobreaker and resilience4j.
    """

    window_s: float = 10.0
    buckets: int = 10
    min_calls: int = 20
    failure_ratio: float = 0.5
    immediate_open_ratio: float = 0.9
    min_failing_s: float = 1.0
    unreachable_in_a_row: int = 5
    open_s: float = 5.0
    max_open_s: float = 60.0
    unreachable_open_s: float = 1.0
    max_unreachable_open_s: float = 2.0
    jitter: float = 0.2
    probes: int = 3


DEFAULT_LIMITS = Limits()


class Circuit:
    """Circuit of one method: opens after too many failures, sends a few probes, and closes when they succeed.

    Call `admit` before each call, and `record` after each admitted call. Times are in seconds on one monotonic clock.
    """

    __slots__ = (
        "_bucket",
        "_bucket_s",
        "_calls",
        "_closed_at",
        "_failed",
        "_failing_since",
        "_generation",
        "_limits",
        "_open_until",
        "_openings",
        "_probes",
        "_rng",
        "_state",
        "_successes",
        "_total_calls",
        "_total_failed",
        "_unreachable",
    )

    _bucket: int
    _calls: list[int]
    _failed: list[int]
    _total_calls: int
    _total_failed: int
    _unreachable: int
    _probes: int
    _successes: int
    _failing_since: float | None

    def __init__(self, rng: Random, limits: Limits = DEFAULT_LIMITS) -> None:
        self._rng = rng
        self._limits = limits
        self._bucket_s = limits.window_s / limits.buckets
        self._state = CLOSED
        self._generation = 0
        self._openings = 0
        self._open_until = 0.0
        self._closed_at = float("-inf")
        self._reset_counts()

    def admit(self, now: float) -> int | None:
        """Return a number to pass to `record` with the outcome, or None if the call is rejected."""
        if self._state is CLOSED:
            return self._generation
        if self.state(now) is OPEN:
            return None
        if self._state is OPEN:
            self._set_state(HALF_OPEN)
        if self._probes == self._limits.probes:
            return None
        self._probes += 1
        return self._generation

    def record(self, admitted: int, outcome: Outcome, now: float) -> None:
        """Record the outcome of a call that `admit` let through.

        Calls admitted before the last state change are ignored.
        """
        if admitted != self._generation:
            return
        if self._state is HALF_OPEN:
            self._record_probe(outcome, now)
        elif outcome is not UNCOUNTED:
            self._count(outcome, now)

    def state(self, now: float) -> State:
        """Return the state; an open circuit is half open once its time is over."""
        return HALF_OPEN if self._state is OPEN and now >= self._open_until else self._state

    def retry_after_s(self, now: float) -> float:
        """Return the seconds after which a rejected call may be repeated."""
        # While probes are in flight, the circuit may close at any moment.
        return max(self._open_until - now, 0.0) if self._state is OPEN else self._limits.unreachable_open_s

    def _count(self, outcome: Outcome, now: float) -> None:
        bucket = int(now / self._bucket_s)
        if bucket != self._bucket:
            self._advance_to(bucket)
        at = bucket % self._limits.buckets
        self._calls[at] += 1
        self._total_calls += 1
        if outcome is SUCCESS:
            self._unreachable = 0
            return
        self._failed[at] += 1
        self._total_failed += 1
        self._unreachable = self._unreachable + 1 if outcome is UNREACHABLE else 0
        if self._unreachable >= self._limits.unreachable_in_a_row or self._fails_for_long(now):
            self._open(now, unreachable=self._unreachable >= self._limits.unreachable_in_a_row)

    def _fails_for_long(self, now: float) -> bool:
        limits, failed, calls = self._limits, self._total_failed, self._total_calls
        if calls < limits.min_calls or failed < limits.failure_ratio * calls:
            self._failing_since = None
            return False
        if self._failing_since is None:
            self._failing_since = now
        return failed >= limits.immediate_open_ratio * calls or now - self._failing_since >= limits.min_failing_s

    def _advance_to(self, bucket: int) -> None:
        """Drop counts older than the window."""
        buckets = self._limits.buckets
        for passed in range(max(self._bucket + 1, bucket - buckets + 1), bucket + 1):
            at = passed % buckets
            self._total_calls -= self._calls[at]
            self._total_failed -= self._failed[at]
            self._calls[at] = self._failed[at] = 0
        self._bucket = bucket

    def _record_probe(self, outcome: Outcome, now: float) -> None:
        if outcome is UNCOUNTED:
            self._probes -= 1
        elif outcome is SUCCESS:
            self._successes += 1
            if self._successes == self._limits.probes:
                self._closed_at = now
                self._set_state(CLOSED)
        else:
            self._open(now, unreachable=outcome is UNREACHABLE)

    def _open(self, now: float, *, unreachable: bool) -> None:
        limits = self._limits
        if self._state is CLOSED and now - self._closed_at >= limits.window_s:
            self._openings = 0
        first_s, longest_s = (
            (limits.unreachable_open_s, limits.max_unreachable_open_s)
            if unreachable
            else (limits.open_s, limits.max_open_s)
        )
        mean_s = min(first_s * 2.0 ** min(self._openings, 32), longest_s)
        self._openings += 1
        self._open_until = now + mean_s * self._rng.uniform(1 - limits.jitter, 1 + limits.jitter)
        self._set_state(OPEN)

    def _set_state(self, state: State) -> None:
        self._state = state
        self._generation += 1
        self._reset_counts()

    def _reset_counts(self) -> None:
        self._calls = [0] * self._limits.buckets
        self._failed = [0] * self._limits.buckets
        self._total_calls = self._total_failed = self._unreachable = 0
        self._bucket = 0
        self._failing_since = None
        self._probes = self._successes = 0
