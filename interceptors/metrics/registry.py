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

_cache: WeakKeyDictionary[CollectorRegistry, dict[Callable[[CollectorRegistry], Any], Any]] = WeakKeyDictionary()


def metrics_of(registry: CollectorRegistry, make: Callable[[CollectorRegistry], Metrics]) -> Metrics:
    """Return `make(registry)`, cached per registry."""
    cached = _cache.setdefault(registry, {})
    if make not in cached:
        cached[make] = make(registry)
    found: Metrics = cached[make]
    return found
