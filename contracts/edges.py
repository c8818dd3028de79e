"""Edges of the call graph: the calls, later calls and event deliveries that the contracts declare."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.image import name_of
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import MethodDescriptor

# Name of the event field in a subscriber's request.
EVENT_FIELD = "event"


class EdgeKind(StrEnum):
    """Kind of an edge: the option of the contract that declares it."""

    CALL = "calls"
    LATER = "calls_later"
    EVENT = "subscribes_to"


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """One call from `caller` to the method `callee` ("package.Service/Method").

    `caller` is a method too, or the event ("package.Message") if the edge is an event delivery.
    """

    caller: str
    callee: str
    kind: EdgeKind


def edges_of(methods: Iterable[MethodDescriptor]) -> Iterator[Edge]:
    """Yield every edge that the policies of `methods` declare. A callee may be missing from `methods`."""
    for method in methods:
        policy = method.GetOptions().Extensions[policy_pb2.policy]
        name = name_of(method)
        yield from (Edge(name, callee, EdgeKind.CALL) for callee in policy.calls)
        yield from (Edge(name, callee, EdgeKind.LATER) for callee in policy.calls_later)
        if policy.subscribes_to:
            yield Edge(policy.subscribes_to, name, EdgeKind.EVENT)
