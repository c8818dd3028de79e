"""One metrics object per Prometheus registry, because a registry rejects duplicate names.

A process may have many chains, servers and relays that share a registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

Metrics = TypeVar("Metrics")

_made: WeakKeyDictionary[CollectorRegistry, dict[Callable[[CollectorRegistry], Any], Any]] = WeakKeyDictionary()


def metrics_of(registry: CollectorRegistry, make: Callable[[CollectorRegistry], Metrics]) -> Metrics:
    """Return `make(registry)`, cached per registry."""
    made = _made.setdefault(registry, {})
    if make not in made:
        made[make] = make(registry)
    found: Metrics = made[make]
    return found
