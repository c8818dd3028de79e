"""Call graph of a set of methods: their deadlines, and the edges between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.durations import duration_text
from contracts.edges import Edge, edges_of
from contracts.image import name_of
from contracts.names import package_of
from contracts.policy import seconds
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.descriptor import MethodDescriptor


@dataclass(frozen=True, slots=True)
class Graph:
    """Methods with their deadlines, and the edges that their policies declare.

    `deadlines_s` maps "package.Service/Method" to seconds, or to infinity if the method has no deadline. An edge may
    lead to a method that is missing there.
    """

    deadlines_s: Mapping[str, float]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, methods: Iterable[MethodDescriptor]) -> Graph:
        """Return the graph of `methods`, with packages and methods in the same order."""
        methods = tuple(methods)
        deadlines_s = {name_of(each): _deadline_s(each) for each in methods}
        return cls(deadlines_s, tuple(dict.fromkeys(edges_of(methods))))

    def callers_of(self, method: str) -> list[Edge]:
        """Return the edges to a method."""
        return [edge for edge in self.edges if edge.callee == method]

    def callees_of(self, caller: str) -> list[Edge]:
        """Return the edges from a method or an event: calls, then later calls and deliveries."""
        return [edge for edge in self.edges if edge.caller == caller]

    def packages(self) -> list[str]:
        """Return each package with a method or an event."""
        ends = (name for edge in self.edges for name in (edge.caller, edge.callee))
        return list(dict.fromkeys(map(package_of, (*self.deadlines_s, *ends))))

    def deadline_text(self, method: str) -> str:
        """Return the deadline of a method, such as "500 ms", or an empty text if it has none or is unknown."""
        return duration_text(self.deadlines_s.get(method, math.inf))


def stays_inside(edge: Edge) -> bool:
    """Return whether both ends of an edge are in one package, as in a service's calls to itself."""
    return package_of(edge.caller) == package_of(edge.callee)


def _deadline_s(method: MethodDescriptor) -> float:
    return seconds(method.GetOptions().Extensions[policy_pb2.policy].deadline) or math.inf
