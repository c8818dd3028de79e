from __future__ import annotations

import gc

import pytest
from prometheus_client import CollectorRegistry

from interceptors.breaker.metrics import report_breakers
from tests.interceptors.metrics.samples import SERVICE


class BreakerStates:
    """Stand-in for breakers with states that a test sets."""

    def __init__(self, **states: str) -> None:
        self._states: dict[str, str] = {}
        self.set(**states)

    def set(self, **states: str) -> None:
        """Set the states of methods."""
        self._states.update({f"{SERVICE}/{name}": state for name, state in states.items()})

    def states(self) -> dict[str, str]:
        """Return the states."""
        return self._states


@pytest.mark.requirement("S5")
def test_breaker_states_are_read_at_each_scrape() -> None:
    """A scrape shows the worst current state of a method's breakers: 0 closed, 1 half-open, 2 open."""
    registry = CollectorRegistry()
    ours, others = BreakerStates(Echo="closed", Keep="half-open"), BreakerStates(Echo="open")
    report_breakers(ours, registry)
    report_breakers(others, registry)
    assert samples_of_breakers(registry) == {"Echo": 2, "Keep": 1}

    ours.set(Keep="closed")
    others.set(Echo="half-open")
    assert samples_of_breakers(registry) == {"Echo": 1, "Keep": 0}

    del others
    gc.collect()
    assert samples_of_breakers(registry) == {"Echo": 0, "Keep": 0}


def samples_of_breakers(registry: CollectorRegistry) -> dict[str, float]:
    """Return the state of each method's breaker as a number."""
    [family] = [family for family in registry.collect() if family.name == "grpc_client_breaker_state"]
    return {sample.labels["grpc_method"]: sample.value for sample in family.samples}
