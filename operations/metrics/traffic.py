"""Traffic of the mesh: the calls of each caller to each method, beside the calls that the contracts declare."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.names import package_of, short_package
from operations.metrics.reading import CLIENT, SERVER, Outcome
from operations.metrics.tally import Rates, Tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contracts.drawing.graph import Graph
    from operations.metrics.reading import Bucket, Reading
    from operations.metrics.window import Window

# Kinds of edges that no contract declares: calls of a service, and calls of a key's owner outside the services.
UNDECLARED, OUTSIDE = "undeclared", "outside"
# Owner of a call that was rejected before its key was known.
UNKNOWN_CALLER = "unknown"
# States of a circuit breaker, the most harmful one last.
CLOSED = "closed"
SEVERITY = ("", CLOSED, "half-open", "open")


@dataclass(frozen=True, slots=True)
class Source:
    """Prometheus pages of one service: their windows, and why some of them cannot be read."""

    windows: Sequence[Window]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TrafficEdge:
    """Calls of one caller, a service or the owner of a key, to one method ("package.Service/Method").

    `kinds` are the options that declare the call, or UNDECLARED or OUTSIDE. `breaker` is the state of the caller's
    circuit breaker, or "". `measured_by` is "caller", "callee", or "" if neither can be read; `problem` then gives the
    reason. The callee does not know the durations of each of several callers.
    """

    caller: str
    method: str
    kinds: tuple[str, ...]
    rates: Rates
    in_flight: float
    breaker: str
    measured_by: str
    problem: str

    @property
    def callee(self) -> str:
        """Service of the method, such as "gym"."""
        return short_package(package_of(self.method))

    @property
    def is_busy(self) -> bool:
        """Whether calls ended in the window or are in flight, or the breaker is not closed."""
        return bool(self.rates.calls or self.in_flight) or SEVERITY.index(self.breaker) > SEVERITY.index(CLOSED)


@dataclass(frozen=True, slots=True)
class ServiceTraffic:
    """Calls that one service answered, of all callers: of the whole service, and of each of its methods."""

    name: str
    rates: Rates
    methods: Mapping[str, Rates]
    problem: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """Traffic in the last `window_s` seconds; 0 before the second reading, when there are no rates yet."""

    window_s: float
    edges: tuple[TrafficEdge, ...]
    services: Mapping[str, ServiceTraffic]

    def edge(self, caller: str, method: str) -> TrafficEdge | None:
        """Return the edge from a caller to a method, or None."""
        return next((edge for edge in self.edges if (edge.caller, edge.method) == (caller, method)), None)

    def edges_of(self, service: str = "", method: str = "") -> list[TrafficEdge]:
        """Return the edges from or to a service, to a method, or all edges without both."""
        return [
            edge for edge in self.edges if service in ("", edge.caller, edge.callee) and method in ("", edge.method)
        ]

    def undeclared(self) -> list[TrafficEdge]:
        """Return the edges of calls that no contract declares."""
        return [edge for edge in self.edges if UNDECLARED in edge.kinds]


def traffic_of(graph: Graph, sources: Mapping[str, Source]) -> Traffic:
    """Return the traffic that the pages of `sources`, by name of the service, show."""
    return _Join(graph, sources).traffic()


def declared_kinds(graph: Graph) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the options of the contracts that declare calls of a service to a method, by both names."""
    kinds: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for edge in graph.edges:
        kinds[short_package(package_of(edge.caller)), edge.callee][edge.kind.value] = None
    return {pair: tuple(found) for pair, found in kinds.items()}


class _Side:
    """Tallies of one side, CLIENT or SERVER, of all pages of a service."""

    def __init__(self, source: Source, side: str) -> None:
        self.edges: dict[tuple[str, str], Tally] = defaultdict(Tally)
        self.methods: dict[str, Tally] = defaultdict(Tally)
        self.whole = Tally()
        for window in source.windows:
            for counter, increase in window.increases().items():
                if counter.side == side:
                    self._add(counter, increase, window.span_s)

    def tally_of(self, caller: str, method: str) -> Tally | None:
        """Return the tally of an edge, with durations if the caller is the only one of the method."""
        callers = [each for each, called in self.edges if called == method]
        return self.methods[method] if callers == [caller] else self.edges.get((caller, method))

    def _add(self, counter: Outcome | Bucket, increase: float, span_s: float) -> None:
        self.whole.add(counter, increase, span_s)
        self.methods[counter.method].add(counter, increase, span_s)
        if isinstance(counter, Outcome):
            self.edges[counter.caller or UNKNOWN_CALLER, counter.method].add(counter, increase, span_s)


class _Join:
    """Both sides of all services, joined with the edges of the contracts."""

    def __init__(self, graph: Graph, sources: Mapping[str, Source]) -> None:
        self._graph = graph
        self._sources = sources
        self._clients = {name: _Side(source, CLIENT) for name, source in sources.items()}
        self._servers = {name: _Side(source, SERVER) for name, source in sources.items()}

    def traffic(self) -> Traffic:
        windows = [window for source in self._sources.values() for window in source.windows]
        kinds = self._kinds()
        edges = tuple(self._edge(caller, method, kinds[caller, method]) for caller, method in sorted(kinds))
        services = {name: self._service(name, side) for name, side in self._servers.items()}
        return Traffic(max((window.span_s for window in windows), default=0.0), edges, services)

    def _kinds(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Return the kinds of all edges: those of the contracts, and those with calls in the window.

        Calls of methods outside the contracts, such as admin methods of the mesh, are no edges.
        """
        kinds = declared_kinds(self._graph)
        seen = [(name, method) for name, side in self._clients.items() for method in side.methods]
        seen += [pair for side in self._servers.values() for pair in side.edges]
        for caller, method in seen:
            if method in self._graph.deadlines_s:
                kinds.setdefault((caller, method), (UNDECLARED if caller in self._sources else OUTSIDE,))
        return kinds

    def _edge(self, caller: str, method: str, kinds: tuple[str, ...]) -> TrafficEdge:
        callee = short_package(package_of(method))
        # Only the caller sees calls that did not arrive. A relay in a process of its own has no page.
        at_client = self._clients[caller].methods.get(method) if self._is_readable(caller) else None
        at_server = self._servers[callee].tally_of(caller, method) if self._is_readable(callee) else None
        by_caller = self._is_readable(caller) and (at_client is not None or at_server is None)
        by_callee = not by_caller and self._is_readable(callee)
        latest = self._latest(caller)
        return TrafficEdge(
            caller,
            method,
            kinds,
            (at_client or at_server or Tally()).rates(),
            sum(reading.in_flight.get((CLIENT, method), 0.0) for reading in latest),
            max((reading.breakers.get(method, "") for reading in latest), key=SEVERITY.index, default=""),
            "caller" if by_caller else "callee" if by_callee else "",
            next((self._sources[end].problem for end in (caller, callee) if self._has_problem(end)), ""),
        )

    def _latest(self, caller: str) -> list[Reading]:
        windows = self._sources[caller].windows if self._is_readable(caller) else ()
        return [window.latest for window in windows if window.latest is not None]

    def _is_readable(self, name: str) -> bool:
        return name in self._sources and not self._has_problem(name)

    def _has_problem(self, name: str) -> bool:
        return name in self._sources and bool(self._sources[name].problem)

    def _service(self, name: str, side: _Side) -> ServiceTraffic:
        methods = {method: tally.rates() for method, tally in sorted(side.methods.items())}
        return ServiceTraffic(name, side.whole.rates(), methods, self._sources[name].problem)
