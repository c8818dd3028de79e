"""Looks of the parts of the map: classes for colour and width, and short texts with the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from contracts.names import short_package
from mesh.serving.health_probe import SERVING
from operations.metrics.tally import is_failing
from operations.metrics.texts import duration_ms_text, rate_text, share_text
from operations.metrics.traffic import SEVERITY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.pages.map.plan import Plan
    from operations.metrics.tally import Rates
    from operations.metrics.traffic import Traffic, TrafficEdge

NO_DATA = "no data"
# Limits of calls per second between the widths of lines.
WIDTHS_PER_S = (1.0, 10.0, 100.0)


class Look(NamedTuple):
    """Classes of a part of the picture, and its texts: rate, errors, and duration or state."""

    classes: str
    texts: tuple[str, str, str] = ("", "", "")


def looks_of(plan: Plan, traffic: Traffic, statuses: Mapping[str, str]) -> dict[str, Look]:
    """Return the look of each line and each service by its key. `statuses` are those of the services' health."""
    edges = {(edge.caller, edge.method): edge for edge in traffic.edges}
    looks = {line.key: _edge_look(edges.get(line.pair), is_undeclared=line.is_undeclared) for line in plan.lines}
    names = {short_package(key): key for key in plan.layout.places}
    return looks | {service_key(name): _service_look(name, traffic, statuses) for name in names}


def service_key(name: str) -> str:
    """Return the key of a service's box."""
    return f"s-{name}"


def tone_of(edge: TrafficEdge) -> str:
    """Return "bad", "warn", "unknown", "busy" or "idle", by the breaker and the failed calls of an edge.

    An edge without calls is unknown if one of its ends cannot be read, because that service is probably down.
    """
    if not edge.measured_by or (edge.problem and not edge.is_busy):
        return "unknown"
    if edge.breaker == SEVERITY[-1] or is_failing(edge.rates):
        return "bad"
    if edge.breaker == SEVERITY[-2] or edge.rates.failure_share:
        return "warn"
    return "busy" if edge.is_busy else "idle"


def _edge_look(edge: TrafficEdge | None, *, is_undeclared: bool) -> Look:
    if edge is None:
        return Look("undeclared idle" if is_undeclared else "idle")
    tone = tone_of(edge)
    if tone == "unknown":
        return Look(tone, (NO_DATA, "", ""))
    width = sum(edge.rates.calls_per_s >= limit for limit in WIDTHS_PER_S)
    rate, errors, p99 = _texts(edge.rates)
    breaker = f"breaker {edge.breaker}" if SEVERITY.index(edge.breaker) > 1 else ""
    return Look(f"{'undeclared ' if is_undeclared else ''}{tone} w{width}", (rate, errors, breaker or p99))


def _service_look(name: str, traffic: Traffic, statuses: Mapping[str, str]) -> Look:
    status, found = statuses.get(name, ""), traffic.services.get(name)
    if status and status != SERVING:
        return Look("service bad", (status, "", ""))
    if found is None or found.problem:
        return Look("service unknown", ("no metrics", "", ""))
    tone = "warn" if is_failing(found.rates) else "good"
    return Look(f"service {tone}", _texts(found.rates) if found.rates.calls else ("no calls", "", ""))


def _texts(rates: Rates) -> tuple[str, str, str]:
    errors = share_text(rates.error_share) if rates.error_share else ""
    return rate_text(rates.calls_per_s), errors, duration_ms_text(rates.p99_ms)
