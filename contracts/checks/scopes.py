"""Checks of scopes: each method requires at least one, and somebody has it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from contracts.image import name_of
from contracts.names import short_package
from contracts.service_options import default_port_of, external_scopes_of, http_calls_of
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject

_FORM = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


def missing(subject: Subject) -> Iterator[Problem]:
    """Yield each method that requires no scope."""
    for method, policy in subject.policies:
        if not policy.scopes:
            yield subject.in_policy(method, 'scopes must not be empty; add one, such as "gym.read"')


def malformed(subject: Subject) -> Iterator[Problem]:
    """Yield each scope that is not of the form "service.verb"."""
    for method, policy in subject.policies:
        for scope in policy.scopes:
            if not _FORM.fullmatch(scope):
                message = f'scopes: "{scope}" is not of the form "service.verb", such as "gym.read"'
                yield subject.in_policy(method, message, "scopes", scope)


def unused(subject: Subject) -> Iterator[Problem]:
    """Yield each scope that only one method requires and nobody has.

    Only operators can call such a method, so the scope may be misspelt. The only scope of a service cannot be a
    misspelling of another one, if it begins with the name of the service. Only the services of a mesh are checked,
    because the callers of others are unknown.
    """
    members = [(method, policy) for method, policy in subject.policies if default_port_of(method.containing_service)]
    count = Counter(scope for _, policy in members for scope in set(policy.scopes))
    count_of_name = Counter(_name_in(scope) for scope in count)
    held = _held(subject)
    for method, policy in members:
        for scope in policy.scopes:
            name = _name_in(scope)
            is_only_one = name == short_package(method.containing_service.file.package) and count_of_name[name] == 1
            if count[scope] == 1 and scope not in held and not is_only_one and _FORM.fullmatch(scope):
                message = f'scopes: no other method and no caller has "{scope}"; check its spelling'
                message += ", or add it to the external_scopes of the service"
                yield subject.in_policy(method, message, "scopes", scope)


def external_unknown(subject: Subject) -> Iterator[Problem]:
    """Yield each of `external_scopes` that no method of the service requires."""
    for service in subject.image.services():
        options = (method.GetOptions().Extensions[policy_pb2.policy] for method in service.methods)
        required = {scope for policy in options for scope in policy.scopes}
        for scope in external_scopes_of(service):
            if scope not in required:
                message = f'external_scopes: no method of this service requires "{scope}"; remove it'
                yield subject.problem(service, message, policy_pb2.EXTERNAL_SCOPES_FIELD_NUMBER, scope)


def _held(subject: Subject) -> set[str]:
    """Return the scopes of callers: those of called methods, and those of callers outside of the mesh."""
    services = list(subject.image.services())
    from_http = {call for service in services for call in http_calls_of(service)}
    held = {scope for service in services for scope in external_scopes_of(service)}
    for method, policy in subject.policies:
        if subject.graph.callers_of(name_of(method)) or name_of(method) in from_http:
            held.update(policy.scopes)
    return held


def _name_in(scope: str) -> str:
    """Return the name of the service in a scope: "gym" in "gym.read"."""
    return scope.partition(".")[0]
