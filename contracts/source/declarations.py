"""Declarations of one service: what its contract lists in options, with the lines of these options."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from solo60.common.v1.errors_pb2 import ErrorReason
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from google.protobuf.descriptor_pb2 import FileDescriptorProto


class Option(Enum):
    """Option that lists methods or errors."""

    CALLS = "calls"
    CALLS_LATER = "calls_later"
    HTTP_CALLS = "http_calls"
    ERRORS = "errors"


# Numbers of fields in descriptor.proto, as paths in source info have them.
_MESSAGES, _SERVICES = 4, 6
_METHODS, _SERVICE_OPTIONS = 2, 3
_METHOD_OPTIONS = 4

OF_METHODS = (Option.CALLS, Option.CALLS_LATER, Option.ERRORS)


@dataclass(frozen=True, slots=True)
class Declaration:
    """Name in a list of an option, or of an event. `owner` is the name of the method or service with the option.

    The line is that of the option, or of its method if the compiler recorded no line for it, or 0 without source info.
    """

    name: str
    owner: str
    option: Option | None
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Contract:
    """Declarations of a service. `events` are the events of its package."""

    service: str
    package: str
    declarations: tuple[Declaration, ...]
    events: Mapping[str, Declaration]
    subscribed_events: frozenset[str]
    foreign_methods: frozenset[str]

    def of(self, option: Option) -> Iterator[Declaration]:
        """Yield the declarations in one option."""
        return (each for each in self.declarations if each.option is option)

    def names(self, *options: Option) -> frozenset[str]:
        """Return the names that some method, or the service, lists in one of the options."""
        return frozenset(each.name for each in self.declarations if each.option in options)


def contract_of(service: str, files: Sequence[FileDescriptorProto]) -> Contract:
    """Return the declarations of a service by full name; raise KeyError if no file has it."""
    services = {f"{file.package}.{each.name}": (file, each) for file in files for each in file.service}
    file, _ = services[service]
    declarations = tuple(_declarations_of(file, service))
    methods = {
        f"{name}/{method.name}": method.options.Extensions[policy_pb2.policy]
        for name, (_, each) in services.items()
        for method in each.method
    }
    return Contract(
        service=service,
        package=file.package,
        declarations=declarations,
        events={each.name: each for own in files if own.package == file.package for each in _events_of(own)},
        subscribed_events=frozenset(policy.subscribes_to for policy in methods.values()),
        foreign_methods=frozenset(
            f"{name}/{method.name}"
            for name, (_, each) in services.items()
            if not any(one.options.HasExtension(policy_pb2.policy) for one in each.method)
            for method in each.method
        ),
    )


def _declarations_of(file: FileDescriptorProto, service: str) -> Iterator[Declaration]:
    index, declared = next(
        (index, each) for index, each in enumerate(file.service) if f"{file.package}.{each.name}" == service
    )
    lines, of_service = _Lines(file), (_SERVICES, index)
    for position, name in enumerate(declared.options.Extensions[policy_pb2.http_calls]):
        line = lines.of(*of_service, _SERVICE_OPTIONS, policy_pb2.http_calls.number, position)
        yield Declaration(name, declared.name, Option.HTTP_CALLS, file.name, line)
    for number, method in enumerate(declared.method):
        policy = method.options.Extensions[policy_pb2.policy]
        for option in OF_METHODS:
            field = policy.DESCRIPTOR.fields_by_name[option.value]
            of_option = (*of_service, _METHODS, number, _METHOD_OPTIONS, policy_pb2.policy.number, field.number)
            for position, value in enumerate(getattr(policy, option.value)):
                name = ErrorReason.Name(value) if option is Option.ERRORS else value
                yield Declaration(name, method.name, option, file.name, lines.of(*of_option, position))


def _events_of(file: FileDescriptorProto) -> Iterator[Declaration]:
    lines = _Lines(file)
    for index, message in enumerate(file.message_type):
        if message.options.HasExtension(policy_pb2.event):
            line = lines.of(_MESSAGES, index)
            yield Declaration(f"{file.package}.{message.name}", message.name, None, file.name, line)


class _Lines:
    """Lines of the elements of a file, by their paths in its descriptor."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._by_path = {tuple(each.path): each.span[0] + 1 for each in file.source_code_info.location}

    def of(self, *path: int) -> int:
        """Return the line of a path or of its closest recorded parent; 0 without source info.

        buf records one line for a list in brackets, as the line of its first element.
        """
        for candidate in (path, (*path[:-1], 0), *(path[:end] for end in range(len(path) - 1, 0, -1))):
            if candidate in self._by_path:
                return self._by_path[candidate]
        return 0
