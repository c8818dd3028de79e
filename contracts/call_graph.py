"""Call graph of methods: their callers, worst-case time and worst-case number of attempts."""

from __future__ import annotations

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from contracts.edges import Edge, EdgeKind, edges_of
from contracts.policy import DEFAULT_ATTEMPTS, DEFAULT_HEDGED_ATTEMPTS, DEFAULT_OWN_WORK_S, seconds
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import MethodDescriptor

# Google's SRE book warns of 64 attempts, from three hops with four attempts each. The limit of 18 allows hops of two,
# three and three attempts.
MAX_CHAIN_ATTEMPTS = 18


class CallGraph:
    """Calls between methods, as their policies declare them.

    `methods` maps names ("package.Service/Method") to methods. Calls of unknown methods are ignored.
    """

    def __init__(self, methods: Mapping[str, MethodDescriptor]) -> None:
        self._policies = {name: method.GetOptions().Extensions[policy_pb2.policy] for name, method in methods.items()}
        self._chains: dict[str, tuple[int, list[str]]] = {}
        self._callers: defaultdict[str, list[Edge]] = defaultdict(list)
        for edge in edges_of(methods.values()):
            self._callers[edge.callee].append(edge)

    def callers_of(self, method: str) -> tuple[Edge, ...]:
        """Return the edges to a method, of every kind: calls, later calls and event deliveries."""
        return tuple(self._callers.get(method, ()))

    def callees_of(self, method: str) -> list[str]:
        """Return the methods that a method calls and waits for."""
        return [call for call in self._policies[method].calls if call in self._policies]

    def deadline_s(self, method: str) -> float:
        """Return the deadline of a method in seconds; 0 if it declares none."""
        return seconds(self._policies[method].deadline)

    def own_work_s(self, method: str) -> float:
        """Return the longest time in seconds that the handler of a method needs without its calls."""
        return seconds(self._policies[method].own_work) or DEFAULT_OWN_WORK_S

    def steps_of(self, method: str) -> list[tuple[str, ...]]:
        """Return the calls of a method in groups. The calls of one group happen at the same time."""
        policy, callees = self._policies[method], self.callees_of(method)
        groups = [tuple(call for call in group.calls if call in callees) for group in policy.parallel_calls]
        grouped = {call for group in groups for call in group}
        return [group for group in groups if group] + [(call,) for call in callees if call not in grouped]

    def worst_case_s(self, method: str) -> float:
        """Return the longest time in seconds that a method may need: its own work, and the deadlines of its calls.

        A deadline includes all attempts of a call. Of calls at the same time, only the longest counts.
        """
        needed_s = self.own_work_s(method) + sum(max(map(self.deadline_s, step)) for step in self.steps_of(method))
        # Nanoseconds are the unit of deadlines, and a sum of floats may be a little longer.
        return round(needed_s, 9)

    def worst_case_attempts(self, method: str) -> int:
        """Return the most attempts that one call of a method may cause at the end of a chain of calls."""
        return self.worst_chain(method)[0]

    def worst_chain(self, method: str) -> tuple[int, list[str]]:
        """Return the chain of calls from a method with the most attempts, and their number.

        Each hop multiplies the attempts of the hop above. A chain ends where it would return to a method.
        """
        if method not in self._chains:
            self._chains[method] = (1, [])  # for a cycle back to this method
            further = [self.worst_chain(call) for call in self.callees_of(method)]
            attempts, chain = max(further, key=lambda found: found[0], default=(1, []))
            self._chains[method] = (attempts * self.attempts_of(method), [method, *chain])
        return self._chains[method]

    def attempts_of(self, method: str) -> int:
        """Return the most attempts of one call of a method, by its retries and hedges."""
        policy = self._policies[method]
        retried = (policy.retry.max_attempts or DEFAULT_ATTEMPTS) if policy.HasField("retry") else 1
        # Only the first attempt of a hedged call is retried.
        hedged = (policy.hedge.max_attempts or DEFAULT_HEDGED_ATTEMPTS) if policy.HasField("hedge") else 1
        return retried + hedged - 1

    def is_entry_point(self, method: str) -> bool:
        """Return whether no other method calls a method and waits for it."""
        return not any(edge.kind is EdgeKind.CALL for edge in self.callers_of(method))

    def cycle_below(self, *methods: str, own_calls: bool = True) -> list[str]:
        """Return the methods of a cycle of calls that one of `methods` leads into, in order; empty if there is none.

        The first method is also the last. Later calls and events may form cycles, because nobody waits for them.
        Without `own_calls`, the calls of a service to itself are ignored.
        """
        waiting, callees = list(methods), dict[str, list[str]]()
        while waiting:
            method = waiting.pop()
            if method not in callees:
                service = method.partition("/")[0]
                found = self.callees_of(method)
                callees[method] = [call for call in found if own_calls or call.partition("/")[0] != service]
                waiting += callees[method]
        try:
            TopologicalSorter(dict(sorted(callees.items()))).prepare()
        except CycleError as error:
            # The error lists each callee before its caller.
            return list(reversed(error.args[1]))
        return []
