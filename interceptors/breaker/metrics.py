"""Prometheus gauge of all circuit breakers in this process, read at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from interceptors.metrics.registry import metrics_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import CollectorRegistry

STATE_NUMBERS = {"closed": 0, "half-open": 1, "open": 2}


class BreakerStateSource(Protocol):
    """Source of breaker states."""

    def states(self) -> Mapping[str, str]:
        """Return "closed", "half-open" or "open" for each method, by full name ("solo60.gym.v1.GymService/GetGym")."""


class BreakerStates(Collector):
    """Collector of `grpc_client_breaker_state`: 0 for closed, 1 for half open, 2 for open.

    If several clients of the process call one method, the most open state is reported.
    """

    def __init__(self) -> None:
        self._shown: WeakSet[BreakerStateSource] = WeakSet()

    def add(self, breakers: BreakerStateSource) -> None:
        """Report `breakers` while other code holds a reference to them."""
        self._shown.add(breakers)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "grpc_client_breaker_state",
            "State of the circuit breaker: 0 closed, 1 half open, 2 open.",
            labels=("grpc_service", "grpc_method"),
        )
        for name, number in sorted(self._numbers().items()):
            service, _, method = name.partition("/")
            family.add_metric((service, method), number)
        yield family

    def _numbers(self) -> dict[str, int]:
        numbers: dict[str, int] = {}
        for breakers in list(self._shown):
            for name, state in breakers.states().items():
                number = STATE_NUMBERS[state]
                numbers[name] = max(number, numbers.get(name, 0))
        return numbers


def report_breakers(breakers: BreakerStateSource, registry: CollectorRegistry) -> None:
    """Report the states of `breakers` in `registry` while other code holds a reference to them."""
    metrics_of(registry, _states_in).add(breakers)


def _states_in(registry: CollectorRegistry) -> BreakerStates:
    states = BreakerStates()
    registry.register(states)
    return states
