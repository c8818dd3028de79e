"""Changes of methods and services: policies, idempotency levels, calls and ports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import MethodOptions

from contracts.diff.change import change
from contracts.diff.policies import differences, listed
from contracts.edges import EdgeKind, edges_of
from contracts.image import name_of
from contracts.policy import declares_policy, seconds
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from contracts.diff.change import Change
    from contracts.diff.versions import Versions

_POLICY = (policy_pb2.POLICY_FIELD_NUMBER, "policy")
_PORT = (policy_pb2.DEFAULT_PORT_FIELD_NUMBER, "default_port")
_HTTP_CALLS = (policy_pb2.HTTP_CALLS_FIELD_NUMBER, "http_calls")
_LEVEL = (MethodOptions.DESCRIPTOR.fields_by_name["idempotency_level"].number, "idempotency_level")
# In ascending order of safety.
_LEVELS = (MethodOptions.IDEMPOTENCY_UNKNOWN, MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS)


def method_changes(versions: Versions) -> Iterator[Change]:
    """Yield the changes of every method of the old contracts, and the calls of new methods."""
    for name, old in versions.before.methods.items():
        new = versions.after.methods.get(name)
        if new is None:
            place = versions.place_of_removed(old, old.containing_service.file, old.containing_service)
            yield change("METHOD_REMOVED", name, "The method is gone.", place, versions.usage.callers_of([name]))
            continue
        if old.GetOptions() != new.GetOptions():
            yield from _policy_changes(versions, old, new)
            yield from _level_changes(versions, old, new)
            yield from _call_changes(versions, _policy_of(old), new)
    for name in versions.after.methods.keys() - versions.before.methods.keys():
        yield from _call_changes(versions, policy_pb2.MethodPolicy(), versions.after.methods[name])


def _policy_changes(versions: Versions, old: MethodDescriptor, new: MethodDescriptor) -> Iterator[Change]:
    name = name_of(new)
    callers = versions.usage.callers_of([name])
    if declares_policy(old) and not declares_policy(new):
        yield change("POLICY_REMOVED", name, "The policy is gone.", versions.place_of(new), callers)
        return
    for found in differences(_policy_of(old), _policy_of(new)):
        yield change(found.id, name, found.text, versions.place_of(new, _POLICY, *found.path), callers)


def _level_changes(versions: Versions, old: MethodDescriptor, new: MethodDescriptor) -> Iterator[Change]:
    before, now = (each.GetOptions().idempotency_level for each in (old, new))
    if before == now:
        return
    is_weaker = _LEVELS.index(now) < _LEVELS.index(before)
    id_ = "IDEMPOTENCY_LEVEL_WEAKENED" if is_weaker else "IDEMPOTENCY_LEVEL_STRENGTHENED"
    names = [MethodOptions.IdempotencyLevel.Name(level) for level in (before, now)]
    text = f"idempotency_level: {names[0]} before, {names[1]} now."
    callers = versions.usage.callers_of([name_of(new)])
    yield change(id_, name_of(new), text, versions.place_of(new, _LEVEL), callers)


def _call_changes(versions: Versions, before: policy_pb2.MethodPolicy, new: MethodDescriptor) -> Iterator[Change]:
    now = _policy_of(new)
    options = (("calls", (before.calls, now.calls)), ("calls_later", (before.calls_later, now.calls_later)))
    for option, values in options:
        for found in listed(option, values, "CALL_ADDED", "CALL_REMOVED"):
            text = f"{found.text}{_scopes_of(versions, found.path[-1])}"
            yield change(found.id, name_of(new), text, versions.place_of(new, _POLICY, *found.path))


def service_changes(versions: Versions) -> Iterator[Change]:
    """Yield the changes of the options of every service of the old contracts."""
    for old in versions.before.services():
        new = versions.new_services.get(old.full_name)
        if new is not None and old.GetOptions() != new.GetOptions():
            yield from _port_changes(versions, old, new)
            before, now = (each.GetOptions().Extensions[policy_pb2.http_calls] for each in (old, new))
            for found in listed("http_calls", (before, now), "CALL_ADDED", "CALL_REMOVED"):
                text = f"{found.text}{_scopes_of(versions, found.path[-1])}"
                yield change(found.id, new.full_name, text, versions.place_of(new, _HTTP_CALLS))


def _port_changes(versions: Versions, old: ServiceDescriptor, new: ServiceDescriptor) -> Iterator[Change]:
    before, now = (each.GetOptions().Extensions[policy_pb2.default_port] for each in (old, new))
    if before and before != now:
        text = f"default_port: {before} before, {now or 'none'} now."
        callers = versions.usage.callers_of(map(name_of, old.methods))
        yield change("DEFAULT_PORT_CHANGED", new.full_name, text, versions.place_of(new, _PORT), callers)


def late_callers(versions: Versions) -> Iterator[Change]:
    """Yield a change for each caller whose deadline a callee exceeds now, but not before."""
    was_late = set(_edges_beyond_deadline(versions.before.methods.values()))
    for caller, callee in _edges_beyond_deadline(versions.after.methods.values()):
        if (caller, callee) not in was_late and callee in versions.before.methods:
            new = versions.after.methods[callee]
            limit_s, caller_s = (
                seconds(_policy_of(versions.after.methods[each]).deadline) for each in (callee, caller)
            )
            text = f"deadline: {limit_s:g} s, but {caller} has {caller_s:g} s."
            place = versions.place_of(new, _POLICY, "deadline")
            yield change("DEADLINE_BEYOND_CALLER", callee, text, place, [caller])


def _edges_beyond_deadline(methods: Iterable[MethodDescriptor]) -> Iterator[tuple[str, str]]:
    deadlines = {name_of(method): seconds(_policy_of(method).deadline) or math.inf for method in methods}
    for edge in edges_of(methods):
        if edge.kind is EdgeKind.CALL and deadlines.get(edge.callee, 0) > deadlines[edge.caller]:
            yield edge.caller, edge.callee


def _scopes_of(versions: Versions, method: str) -> str:
    """Return a sentence about the scopes that a method requires, in either version."""
    found = versions.after.imported_methods.get(method) or versions.before.imported_methods.get(method)
    scopes = ", ".join(_policy_of(found).scopes) if found is not None else ""
    return f" It requires {scopes}." if scopes else ""


def _policy_of(method: MethodDescriptor) -> policy_pb2.MethodPolicy:
    return method.GetOptions().Extensions[policy_pb2.policy]
