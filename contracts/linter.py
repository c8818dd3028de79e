"""Contract linter: reports policies that are incomplete or unsafe, one sentence per method and rule.

    python -m contracts.linter

Checks every package in the modules of `buf.yaml` in the current folder, except the packages that `pyproject.toml`
exempts (`contracts.workspace`). Each method of a checked package must declare a policy.

Reads policies as declared, without defaults. Rejects values that gRPC's core would silently ignore or reject at run
time. A rule on one value is a protovalidate rule in policy.proto. A rule that needs the method or another option is a
function in `RULES`.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import protovalidate
from google.protobuf.descriptor_pb2 import MethodOptions
from google.rpc import code_pb2

from contracts.call_graph import problems_of_calls
from contracts.events import EVENT_FIELD, is_event, problems_of_events
from contracts.method import methods_of
from contracts.pages import problems_of_pages
from contracts.policy import declares_policy, field_at, is_repeatable, read_retry, seconds
from contracts.scopes import warnings_of_scopes
from contracts.service_error import FIRST_DOMAIN_REASON
from contracts.services import MESH_SERVICES, SERVICES, default_port_of, problems_of_services
from contracts.texts import problems_of_texts
from contracts.violations import violations_of
from contracts.workspace import WorkspaceError, read_contracts
from solo60.common.v1.errors_pb2 import ErrorReason
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor

    Rule = Callable[[MethodDescriptor, policy_pb2.MethodPolicy], Iterator[str]]

Value = TypeVar("Value")

# AIP-194: after any other code a retry is useless, or the call may already have had its effect.
RETRYABLE_CODES = frozenset({code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED, code_pb2.ABORTED})
_SCOPE_FORM = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


def lint(methods: Iterable[MethodDescriptor]) -> list[str]:
    """Return one sentence for each rule that the policies of `methods` break; calls must name one of `methods`."""
    methods = list(methods)
    known = {_name_of(method): method for method in methods}
    return [
        f"{_name_of(method)}: {problem}."
        for method in methods
        for problem in (*_problems(method), *_problems_of_references(method, known))
    ]


def _problems(method: MethodDescriptor) -> Iterator[str]:
    if not declares_policy(method):
        yield "has no policy"
        return
    declared = method.GetOptions().Extensions[policy_pb2.policy]
    for rule in RULES:
        yield from rule(method, declared)


def _values(_method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    """Yield the broken rules of policy.proto."""
    try:
        for violation in violations_of(declared):
            yield f"{violation.field} {violation.description}"
    except protovalidate.EvaluationError as error:  # such as a duration of a million years
        yield f"has a value that cannot be checked: {error}"


def _idle_timeout(method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    if not declared.HasField("idle_timeout"):
        return
    if not (method.client_streaming or method.server_streaming):
        yield "idle_timeout is only allowed for streams"
    elif not 0 < seconds(declared.idle_timeout) <= seconds(declared.deadline):
        yield "idle_timeout must be above 0 s and at most the deadline"


def _scopes(_method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    if not declared.scopes:
        yield "scopes must not be empty"
    for scope in declared.scopes:
        if not _SCOPE_FORM.fullmatch(scope):
            yield f'scopes: "{scope}" is not of the form "service.verb"'


def _retry(method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    if not declared.HasField("retry"):
        return
    if not is_repeatable(method.GetOptions()):
        yield "retry needs an idempotency_level or IDEMPOTENCY_REQUIRED, otherwise a retry may act twice"
    for code in declared.retry.codes:
        if code not in RETRYABLE_CODES:
            yield f"retry.codes: {code_pb2.Code.Name(code)} is not a retryable code (AIP-194)"


def _backoff(_method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    retry = read_retry(declared.retry)
    if retry.initial_backoff_s < 0 or retry.max_backoff_s < 0:
        yield "retry.initial_backoff and max_backoff must not be negative"
    elif retry.initial_backoff_s > retry.max_backoff_s:
        yield "retry.initial_backoff must not be longer than max_backoff"


def _hedge(method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    if declared.HasField("hedge") and method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS:
        yield "hedge needs idempotency_level NO_SIDE_EFFECTS"


def _rate_limit(method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    path = declared.rate_limit.per_field
    if path and field_at(method.input_type, path) is None:
        yield f'rate_limit.per_field: the request has no single-valued field "{path}"'


def _errors(_method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    for reason in declared.errors:
        if reason < FIRST_DOMAIN_REASON:
            yield f"errors: {ErrorReason.Name(reason)} belongs to the mesh and needs no declaration"
    for reason in _repeated(declared.errors):
        yield f"errors: {ErrorReason.Name(reason)} is listed more than once"


def _calls(_method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    for call in _repeated(declared.calls):
        yield f"calls: {call} is listed more than once"


def _calls_later(_method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    for call in _repeated(declared.calls_later):
        yield f"calls_later: {call} is listed more than once"


def _subscribes_to(method: MethodDescriptor, declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    if not declared.subscribes_to:
        return
    field = method.input_type.fields_by_name.get(EVENT_FIELD)
    event = field.message_type if field is not None and not field.is_repeated else None
    if event is None or event.full_name != declared.subscribes_to:
        yield f'subscribes_to: the request has no field "{EVENT_FIELD}" of type {declared.subscribes_to}'
    elif not is_event(event):
        yield f"subscribes_to: {event.full_name} is not declared to be an event"
    yield from _outbox_problems(method, "subscribes_to")


def _outbox_problems(method: MethodDescriptor, option: str) -> Iterator[str]:
    """Yield the reasons why an outbox cannot call a method: it sends one message and repeats it."""
    name = _name_of(method)
    if method.client_streaming or method.server_streaming:
        yield f"{option}: {name} is a stream, and an outbox can only call unary methods"
    if not is_repeatable(method.GetOptions()):
        yield f"{option}: {name} needs an idempotency_level or IDEMPOTENCY_REQUIRED, otherwise a retry may act twice"


def _pages(method: MethodDescriptor, _declared: policy_pb2.MethodPolicy) -> Iterator[str]:
    yield from problems_of_pages(method)


RULES: tuple[Rule, ...] = (
    _values,
    _idle_timeout,
    _scopes,
    _retry,
    _backoff,
    _hedge,
    _rate_limit,
    _errors,
    _calls,
    _calls_later,
    _subscribes_to,
    _pages,
)


def _problems_of_references(method: MethodDescriptor, known: Mapping[str, MethodDescriptor]) -> Iterator[str]:
    declared = method.GetOptions().Extensions[policy_pb2.policy]
    for call in declared.calls:
        if call not in known:
            yield f"calls: there is no method {call}"
        elif call.partition("/")[0] == method.containing_service.full_name:
            yield f"calls: {call} belongs to the same service, so no call is needed"
    for call in declared.calls_later:
        if call not in known:
            yield f"calls_later: there is no method {call}"
        else:
            yield from _outbox_problems(known[call], "calls_later")
    replacement = declared.deprecation.replaced_by
    if replacement and replacement not in known:
        yield f"deprecation.replaced_by: there is no method {replacement}"


def _name_of(method: MethodDescriptor) -> str:
    return f"{method.containing_service.full_name}/{method.name}"


def _repeated(values: Iterable[Value]) -> list[Value]:
    return [value for value, count in Counter(values).items() if count > 1]


def lint_files(files: Sequence[FileDescriptor]) -> list[str]:
    """Return the problems of whole contracts. The call graph is checked only if there are no other problems."""
    services = _services_in(files)
    problems = lint(method for service in services for method in service.methods)
    messages = [message for file in files for message in file.message_types_by_name.values()]
    if any(map(default_port_of, services)):  # the services of a mesh
        problems += problems_of_services(services)
    problems += problems_of_events(messages)
    # Skip policy.proto, because its messages are options and never sent in a call.
    problems += problems_of_texts(message for message in messages if message.file.name != policy_pb2.DESCRIPTOR.name)
    return problems or problems_of_calls({m.full_name: m for service in services for m in methods_of(service)})


def warnings_of_files(files: Sequence[FileDescriptor]) -> list[str]:
    """Return the warnings about the registered services in `files`. The keys for other services are not known."""
    registered = {service.full_name for service in (*SERVICES.values(), *MESH_SERVICES)}
    services = [service for service in _services_in(files) if service.full_name in registered]
    return warnings_of_scopes([method for service in services for method in methods_of(service)])


def _services_in(files: Iterable[FileDescriptor]) -> list[ServiceDescriptor]:
    return [service for file in files for service in file.services_by_name.values()]


def main() -> None:
    """Print the problems of this folder's contracts and exit with 1; print warnings if there are no problems."""
    try:
        files = read_contracts(Path())
    except WorkspaceError as error:
        _fail([str(error)])
    problems = lint_files(files)
    if problems:
        _fail(problems)
    for warning in warnings_of_files(files):
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201 - output of `make lint`


def _fail(problems: Iterable[str]) -> NoReturn:
    print(*problems, sep="\n", file=sys.stderr)  # noqa: T201 - output of `make lint`
    raise SystemExit(1)


if __name__ == "__main__":
    main()
