"""Checks of Python code: the calls, events and errors of a service are those that its contract declares.

The code is compared with all methods of its services together, because it does not show which method a call serves. At
run time, `interceptors.declared_calls` checks each method. A declared error may be raised by a library, so only tests
can show that it is never raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.checks.finding import Problem
from contracts.checks.subject import POLICY
from contracts.errors import ServiceError
from contracts.image import Location
from contracts.policy import declares_policy
from contracts.service_error import PLATFORM_REASONS
from contracts.service_options import http_calls_of
from contracts.source.uses import Kind
from solo60.common.v1.errors_pb2 import ErrorReason
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from contracts.checks.subject import Subject
    from contracts.source.code import Code
    from contracts.source.uses import Use

# Options that may list a method, by the kind of its use.
_OPTIONS = {
    Kind.CALL: ("calls", "http_calls"),
    Kind.CALL_LATER: ("calls_later",),
    Kind.REFERENCE: ("calls", "calls_later", "http_calls"),
}


def unresolved(subject: Subject) -> Iterator[Problem]:
    """Yield each access to what may be a method of a stub, if the class of the stub is unknown."""
    for code, use in _uses(subject, Kind.UNRESOLVED):
        message = f"cannot tell which service `{use.name}` belongs to; annotate the value with its stub class"
        yield _problem(code, use, message)


def call_undeclared(subject: Subject) -> Iterator[Problem]:
    """Yield each call that no method lists, and each method passed on that may become one."""
    return _undeclared(subject, Kind.CALL, Kind.REFERENCE)


def later_undeclared(subject: Subject) -> Iterator[Problem]:
    """Yield each later call that no method lists."""
    return _undeclared(subject, Kind.CALL_LATER)


def call_unused(subject: Subject) -> Iterator[Problem]:
    """Yield each of `calls` that no code calls."""
    return _unused(subject, "calls")


def later_unused(subject: Subject) -> Iterator[Problem]:
    """Yield each of `calls_later` that no code calls."""
    return _unused(subject, "calls_later")


def http_call_unused(subject: Subject) -> Iterator[Problem]:
    """Yield each of `http_calls` that no code calls."""
    return _unused(subject, "http_calls")


def event_foreign(subject: Subject) -> Iterator[Problem]:
    """Yield each published event of another package."""
    for code, use in _uses(subject, Kind.EVENT):
        if subject.generated.events[use.name].file.package not in _packages(code):
            message = f"the code publishes {use.name}, an event of another package; publish one of its own package"
            yield _problem(code, use, message)


def event_unused(subject: Subject) -> Iterator[Problem]:
    """Yield each event that no code of its package publishes."""
    for code in subject.code:
        published = {use.name for use in code.uses if use.kind is Kind.EVENT}
        for name, event in subject.generated.events.items():
            if event.file.package in _packages(code) and name not in published:
                yield subject.problem(event, "no code publishes the event; remove it")


def error_undeclared(subject: Subject) -> Iterator[Problem]:
    """Yield each raised error that no method lists."""
    reasons = {error.__name__: error.reason for error in ServiceError.by_reason.values()}
    for code, use in _uses(subject, Kind.RAISED):
        reason = reasons.get(use.name)
        if reason is not None and reason not in PLATFORM_REASONS | _listed_values(subject, code, "errors"):
            message = f"the code raises {use.name}; add {ErrorReason.Name(reason)} to errors of the method"
            yield _problem(code, use, message)


def _undeclared(subject: Subject, *kinds: Kind) -> Iterator[Problem]:
    for code, use in _uses(subject, *kinds):
        options, callee = _OPTIONS[use.kind], subject.methods[use.name].containing_service
        # Foreign methods, such as health checks, declare no policy, and no method needs to list them.
        is_foreign = not any(map(declares_policy, callee.methods))
        if not is_foreign and not any(use.name in _listed_values(subject, code, option) for option in options):
            wrong = "calls" if callee in code.services else "http_calls"
            hint = " or ".join(option for option in options if option != wrong)
            yield _problem(code, use, f"the code calls {use.name}; add it to {hint}, or remove the call")


def _unused(subject: Subject, option: str) -> Iterator[Problem]:
    where = (policy_pb2.HTTP_CALLS_FIELD_NUMBER,) if option == "http_calls" else (POLICY, option)
    for code in subject.code:
        called = {use.name for use in code.uses if option in _OPTIONS.get(use.kind, ())}
        for owner, call in _listed(subject, code, option):
            # Other checks find a call of an unknown method.
            if call in subject.methods and call not in called:
                yield subject.problem(owner, f"{option}: no code calls {call}; remove it", *where, call)


def _listed(
    subject: Subject, code: Code, option: str
) -> Iterator[tuple[MethodDescriptor | ServiceDescriptor, str | int]]:
    """Yield each value in an option of the services of some code, with the service or method.

    Methods that are only a contract have no code.
    """
    if option == "http_calls":
        yield from ((service, call) for service in code.services for call in http_calls_of(service))
        return
    for method, policy in subject.policies:
        if method.containing_service in code.services and not policy.contract_only:
            yield from ((method, value) for value in getattr(policy, option))


def _listed_values(subject: Subject, code: Code, option: str) -> set[str | int]:
    return {value for _, value in _listed(subject, code, option)}


def _uses(subject: Subject, *kinds: Kind) -> Iterator[tuple[Code, Use]]:
    return ((code, use) for code in subject.code for use in code.uses if use.kind in kinds)


def _packages(code: Code) -> set[str]:
    return {service.file.package for service in code.services}


def _problem(code: Code, use: Use, message: str) -> Problem:
    """Return a problem at a line of code. The name is that of the first service of the code."""
    return Problem(Location(use.file, use.line), f"{code.services[0].full_name}: {message}.")
