"""Checks of calls: each names a method of another service, and the graph has no cycle and no hidden effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import MethodOptions

from contracts.checks.subject import repeated
from contracts.image import name_of
from contracts.policy import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject


def unknown(subject: Subject) -> Iterator[Problem]:
    """Yield each call of a method that does not exist."""
    for method, policy in subject.policies:
        for call in policy.calls:
            if call not in subject.methods:
                yield subject.in_policy(method, f"calls: {subject.no_method(call)}", "calls", call)


def of_own_service(subject: Subject) -> Iterator[Problem]:
    """Yield each call of the service's own method."""
    for method, policy in subject.policies:
        for call in policy.calls:
            if call in subject.methods and call.partition("/")[0] == method.containing_service.full_name:
                message = f"calls: {call} belongs to the same service, so no call is needed; remove it"
                yield subject.in_policy(method, message, "calls", call)


def listed_twice(subject: Subject) -> Iterator[Problem]:
    """Yield each call that is listed more than once."""
    for method, policy in subject.policies:
        for call in repeated(policy.calls):
            yield subject.in_policy(method, f"calls: {call} is listed more than once; list it once", "calls", call)


def cycle(subject: Subject) -> Iterator[Problem]:
    """Yield a cycle of calls, at the call of its first method."""
    # A call of the own service has an id of its own.
    path = subject.graph.cycle_below(*subject.image.methods, own_calls=False)
    if path:
        start = path.index(min(path))
        path = [*path[start:-1], *path[:start], path[start]]
        message = f"calls {' calls '.join(path[1:])}: calls must not form a cycle; use calls_later for one of them"
        yield subject.in_policy(subject.methods[path[0]], message, "calls", path[1])


def with_effects(subject: Subject) -> Iterator[Problem]:
    """Yield each call of a method with side effects by a method that declares none.

    A chain of calls over any number of hops is covered, because the last method without side effects is reported.
    """
    for method, policy in subject.policies:
        if method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS:
            continue
        for call in subject.graph.callees_of(name_of(method)):
            if subject.methods[call].GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS:
                message = f"has NO_SIDE_EFFECTS, but calls {call}, which may have some"
                hint = "change the idempotency_level of one of them"
                yield subject.in_policy(method, f"{message}; {hint}", "calls", call)
        if policy.calls_later:
            yield subject.in_policy(
                method, "has NO_SIDE_EFFECTS, but a later call is an effect; change idempotency_level", "calls_later"
            )


def beyond_deadline(subject: Subject) -> Iterator[Problem]:
    """Yield each deadline that is shorter than the method's own work and its calls.

    A method without calls and without own_work is not checked. No deadline fits a cycle, so a cycle is reported alone.
    """
    if subject.graph.cycle_below(*subject.image.methods):
        return
    for method, policy in subject.policies:
        name, graph = name_of(method), subject.graph
        deadline_s, needed_s = seconds(policy.deadline), graph.worst_case_s(name)
        if not (policy.calls or policy.HasField("own_work")) or not 0 < deadline_s < needed_s:
            continue
        parts = [f"own_work {graph.own_work_s(name):g} s"]
        parts += [
            " or ".join(f"{call.rpartition('.')[2]} {graph.deadline_s(call):g} s" for call in step)
            for step in graph.steps_of(name)
        ]
        message = f"the deadline of {deadline_s:g} s is shorter than {needed_s:g} s ({' + '.join(parts)})"
        hint = "raise it, shorten a callee's deadline, or declare parallel_calls"
        yield subject.in_policy(method, f"{message}; {hint}", "deadline")


def parallel_unknown(subject: Subject) -> Iterator[Problem]:
    """Yield each parallel call that is not one of `calls`, or is in two groups."""
    for method, policy in subject.policies:
        grouped = [call for group in policy.parallel_calls for call in group.calls]
        for call in dict.fromkeys(grouped):
            if call not in policy.calls:
                message = f"parallel_calls: {call} is not one of calls; add it there"
                yield subject.in_policy(method, message, "parallel_calls", call)
        for call in repeated(grouped):
            message = f"parallel_calls: {call} is listed more than once; keep it in one group"
            yield subject.in_policy(method, message, "parallel_calls", call)
