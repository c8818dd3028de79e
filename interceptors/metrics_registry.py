"""What a registry shows already: it takes each name once, and a process may have many chains, servers and relays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

Metrics = TypeVar("Metrics")

_made: WeakKeyDictionary[CollectorRegistry, dict[Callable[[CollectorRegistry], Any], Any]] = WeakKeyDictionary()


def metrics_of(registry: CollectorRegistry, make: Callable[[CollectorRegistry], Metrics]) -> Metrics:
    """Return what `make` makes of `registry`, the same each time."""
    made = _made.setdefault(registry, {})
    if make not in made:
        made[make] = make(registry)
    found: Metrics = made[make]
    return found
