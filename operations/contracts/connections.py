"""Call graph of the services: callers, callees and gRPC service config of each method."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contracts.drawing.graph import Graph
from contracts.service_config import service_config
from contracts.service_options import http_calls_of
from contracts.services import SERVICES, short_service_name

if TYPE_CHECKING:
    from contracts.method import Method

HTTP_ENDPOINT = "HTTP endpoint of the service"


@dataclass(frozen=True, slots=True)
class Caller:
    """Method, event or HTTP endpoint that calls a method. `kind` is the option of the contract that declares it."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Callee:
    """Method that is called. `kind` is as for Caller, and `deadline_s` is None without a deadline."""

    name: str
    kind: str
    deadline_s: float | None


def graph_of_services(deadline_factor: float = 1) -> Graph:
    """Return the call graph of every method of the services, with each deadline multiplied by `deadline_factor`."""
    graph = Graph.of(method for service in SERVICES.values() for method in service.methods)
    return Graph({name: limit_s * deadline_factor for name, limit_s in graph.deadlines_s.items()}, graph.edges)


def callers_of(method: Method, graph: Graph) -> list[Caller]:
    """Return the callers of a method."""
    callers = [Caller(edge.caller, edge.kind) for edge in graph.callers_of(method.full_name)]
    service = SERVICES.get(short_service_name(method.service))
    over_http = service is not None and method.full_name in http_calls_of(service)
    return [*callers, Caller(HTTP_ENDPOINT, "http_calls")] if over_http else callers


def callees_of(method: Method, graph: Graph) -> list[Callee]:
    """Return the callees of a method."""
    return [
        Callee(edge.callee, edge.kind, limit_s if math.isfinite(limit_s) else None)
        for edge in graph.callees_of(method.full_name)
        for limit_s in (graph.deadlines_s.get(edge.callee, math.inf),)
    ]


def service_config_of(method: Method) -> dict[str, Any]:
    """Return the gRPC service config of the channel to a method, without the entries of the service's other methods."""
    config: dict[str, Any] = json.loads(service_config(SERVICES[short_service_name(method.service)]))
    name = {"service": method.service, "method": method.name}
    own = [each for each in config.pop("methodConfig") if name in each["name"]]
    return {"methodConfig": own, **config}
