"""Comparison of a service's Python source with its contract: calls, later calls, events and errors.

The source is compared with the options of all methods of the service together, because it does not show which method a
call serves. At run time, `interceptors.declared_calls` checks each method. A declared error may be raised by a library,
so only tests can show that it is never raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from contracts.errors import ServiceError
from contracts.service_error import PLATFORM_REASONS
from contracts.source.declarations import Option, contract_of
from contracts.source.names import GeneratedNames
from contracts.source.uses import Kind, Use, uses_in
from solo60.common.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    from contracts.source.declarations import Contract

# Ids of findings that need no change: a subscriber may follow later.
REPORTS: Final = frozenset({"EVENT_WITHOUT_SUBSCRIBER"})

_OPTIONS = {
    Kind.CALL: (Option.CALLS, Option.HTTP_CALLS),
    Kind.CALL_LATER: (Option.CALLS_LATER,),
    Kind.REFERENCE: (Option.CALLS, Option.CALLS_LATER, Option.HTTP_CALLS),
}
_UNUSED = {
    Option.CALLS: "CALL_UNUSED",
    Option.CALLS_LATER: "CALL_LATER_UNUSED",
    Option.HTTP_CALLS: "HTTP_CALL_UNUSED",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Difference between a contract and the source. The file is the source's, or the contract's for a dead option."""

    id: str
    message: str
    file: str
    line: int


def compare(files: Iterable[FileDescriptorProto], service: str, folder: Path) -> list[Finding]:
    """Return the differences between the contract of `service`, by full name, and the Python files below `folder`.

    `files` are the contracts of the service and of all services that it calls; with source info, findings have the
    lines of dead options. Raises KeyError if no file has the service, and SyntaxError for a file that is not Python.
    """
    files = list(files)
    contract, uses = contract_of(service, files), uses_in(folder, GeneratedNames(files))
    return [
        *_unresolved(uses),
        *_undeclared_calls(contract, uses),
        *_unused_calls(contract, uses),
        *_events(contract, uses),
        *_undeclared_errors(contract, uses),
    ]


def _unresolved(uses: Iterable[Use]) -> Iterator[Finding]:
    for use in uses:
        if use.kind is Kind.UNRESOLVED:
            message = f"cannot tell which service `{use.name}` belongs to: annotate the value with its stub class."
            yield Finding("CALL_UNRESOLVED", message, use.file, use.line)


def _undeclared_calls(contract: Contract, uses: Iterable[Use]) -> Iterator[Finding]:
    for use in uses:
        options = _OPTIONS.get(use.kind, ())
        if not options or use.name in contract.foreign_methods:
            continue
        if use.name not in contract.names(*options):
            shown = " or ".join(f"`{option.value}`" for option in options if option is not Option.HTTP_CALLS)
            message = f"{use.name} is called, but {contract.service} lists it in {shown} of no method: add it there."
            yield Finding(f"{use.kind.name}_UNDECLARED", message, use.file, use.line)


def _unused_calls(contract: Contract, uses: Collection[Use]) -> Iterator[Finding]:
    for option, finding in _UNUSED.items():
        called = {use.name for use in uses if option in _OPTIONS.get(use.kind, ())}
        for declared in contract.of(option):
            if declared.name not in called:
                message = (
                    f"`{option.value}` of {declared.owner} lists {declared.name}, but no code calls it: remove it."
                )
                yield Finding(finding, message, declared.file, declared.line)


def _events(contract: Contract, uses: Collection[Use]) -> Iterator[Finding]:
    published = [use for use in uses if use.kind is Kind.EVENT]
    for use in published:
        if use.name not in contract.events:
            message = (
                f"{use.name} is published, but belongs to another package: publish an event of {contract.package}."
            )
            yield Finding("EVENT_FOREIGN", message, use.file, use.line)
        elif use.name not in contract.subscribed_events:
            yield Finding("EVENT_WITHOUT_SUBSCRIBER", f"{use.name} has no subscriber.", use.file, use.line)
    names = {use.name for use in published}
    for event in contract.events.values():
        if event.name not in names:
            yield Finding(
                "EVENT_UNUSED", f"{event.name} is published by no code of its service.", event.file, event.line
            )


def _undeclared_errors(contract: Contract, uses: Iterable[Use]) -> Iterator[Finding]:
    for use in uses:
        reason = _reason_of(use.name) if use.kind is Kind.RAISED else ""
        if reason and reason not in contract.names(Option.ERRORS):
            message = f"{use.name} is raised, but {contract.service} lists {reason} in `errors` of no method."
            yield Finding("ERROR_UNDECLARED", message, use.file, use.line)


def _reason_of(error: str) -> str:
    """Return the enum value of an error class of `contracts.errors`, or "" for errors that need no declaration."""
    reasons = {each.__name__: each.reason for each in ServiceError.by_reason.values()}
    reason = reasons.get(error)
    return "" if reason is None or reason in PLATFORM_REASONS else ErrorReason.Name(reason)
