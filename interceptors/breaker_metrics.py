"""Breaker metrics: the state of every circuit breaker of this process, read when Prometheus asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from interceptors.metrics_registry import metrics_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import CollectorRegistry

NUMBERS = {"closed": 0, "half-open": 1, "open": 2}


class HasStates(Protocol):
    """What knows the state of each breaker, by the method's full name ("solo60.gym.v1.GymService/GetGym")."""

    def states(self) -> Mapping[str, str]:
        """Return "closed", "half-open" or "open" for each method."""


class BreakerStates(Collector):
    """Shows `grpc_client_breaker_state`: 0 for a closed breaker, 1 for a half open one, 2 for an open one.

    Where several clients of a process call one method, the breaker that is furthest open counts.
    """

    def __init__(self) -> None:
        self._shown: WeakSet[HasStates] = WeakSet()

    def add(self, breakers: HasStates) -> None:
        """Show `breakers` for as long as something else holds them."""
        self._shown.add(breakers)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "grpc_client_breaker_state",
            "Circuit breakers: 0 closed, 1 half open, 2 open.",
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
                number = NUMBERS[state]
                numbers[name] = max(number, numbers.get(name, 0))
        return numbers


def show_breakers(breakers: HasStates, registry: CollectorRegistry) -> None:
    """Make the states of `breakers` part of what `registry` shows, for as long as something else holds them."""
    metrics_of(registry, _states_in).add(breakers)


def _states_in(registry: CollectorRegistry) -> BreakerStates:
    states = BreakerStates()
    registry.register(states)
    return states
