"""Report on a method: its policy, its callers and callees, its worst case and its service config, as JSON values."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from operations.contracts.connections import callees_of, callers_of, graph_of_services, service_config_of
from operations.contracts.explanation import explain
from operations.contracts.worst_case import worst_case_of

if TYPE_CHECKING:
    from contracts.method import Method
    from mesh.config import Settings


def report_of(method: Method, settings: Settings) -> dict[str, object]:
    """Return the report on calls of `method` in a process with `settings`. Deadlines are in seconds."""
    graph = graph_of_services(settings.deadline_factor)
    return {
        "method": method.full_name,
        "policy": [asdict(fact) for fact in explain(method, settings)],
        "callers": [asdict(caller) for caller in callers_of(method, graph)],
        "callees": [asdict(callee) for callee in callees_of(method, graph)],
        "worst_case": asdict(worst_case_of(method)),
        "service_config": service_config_of(method),
    }
