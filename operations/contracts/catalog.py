"""Catalogue of the contracts: every method, event, message, enum and error reason, with a search."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, cast

from google.protobuf.descriptor import EnumDescriptor

from contracts.method import methods_of
from contracts.names import short_package
from contracts.policy import is_event
from contracts.services import MESH_SERVICES, SERVICES, our_files, short_service_name
from contracts.stored_texts import stored_texts
from mesh.failure import Failure
from operations.contracts.error_reasons import all_reasons
from operations.contracts.texts import first_sentence, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor

    from contracts.method import Method

ERRORS = "errors"


class Kind(StrEnum):
    """Kind of an entry."""

    METHOD = "method"
    EVENT = "event"
    MESSAGE = "message"
    ENUM = "enum"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Entry:
    """One declaration of the contracts.

    `name` is the full name ("solo60.gym.v1.GymService/GetGym"), or the reason of an error. `title` is short
    ("gym.GetGym"). `group` is the short name of the service or package, or "errors". `is_of_one_method` marks the
    request and the response of a method. `text` is searched, in lower case.
    """

    kind: Kind
    name: str
    title: str
    group: str
    summary: str
    text: str
    is_of_one_method: bool = False


class UnknownContract(Failure):
    """No declaration of the contracts has the given name."""


@cache
def entries() -> tuple[Entry, ...]:
    """Return every entry, by service, and within it by kind."""
    found = [*_methods(), *_types(), *_errors()]
    groups, kinds = list(dict.fromkeys(each.group for each in found)), list(Kind)
    return tuple(sorted(found, key=lambda each: (groups.index(each.group), kinds.index(each.kind))))


def search(query: str, kind: str = "", group: str = "") -> list[Entry]:
    """Return the entries of a kind and a group with each word of `query`, those with the words in their title first."""
    words = query.lower().split()
    found = [
        each
        for each in entries()
        if kind in ("", each.kind) and group in ("", each.group) and all(word in each.text for word in words)
    ]
    return sorted(found, key=lambda each: not all(word in each.title.lower() for word in words)) if words else found


def find_entry(name: str) -> Entry | None:
    """Return the entry with this full name, or with this title ("gym.Gym", "SLOT_TAKEN") in any case, or None."""
    wanted = name.lower()
    return next((each for each in entries() if wanted in (each.name.lower(), each.title.lower())), None)


def services() -> tuple[ServiceDescriptor, ...]:
    """Return every service, and after them those of the mesh itself."""
    return (*SERVICES.values(), *MESH_SERVICES)


def method_of(group: str, name: str) -> Method:
    """Return the method with this name of a service or of the mesh; raise UnknownContract if there is none."""
    for service in services():
        if short_service_name(service.full_name) == group:
            for method in methods_of(service):
                if method.name == name:
                    return method
    raise UnknownContract(f'There is no method "{group}.{name}".')


def types() -> Iterator[Descriptor | EnumDescriptor]:
    """Yield every message and enum of our services, of the mesh and of the shared packages."""
    for file in _files():
        for message in cast("Iterable[Descriptor]", file.message_types_by_name.values()):
            yield from _with_nested(message)
        yield from file.enum_types_by_name.values()


def type_of(name: str) -> Descriptor | EnumDescriptor:
    """Return the message or enum with this full name; raise UnknownContract if there is none."""
    for each in types():
        if each.full_name == name:
            return each
    raise UnknownContract(f'There is no message or enum "{name}".')


@cache
def _files() -> tuple[FileDescriptor, ...]:
    wanted = {service.file.package for service in services()}
    others = {file.package for file in our_files() if file.services_by_name} - wanted
    return tuple(file for file in our_files() if file.package not in others)


def _with_nested(message: Descriptor) -> Iterator[Descriptor | EnumDescriptor]:
    if not message.GetOptions().map_entry:
        yield message
        yield from message.enum_types
        for nested in message.nested_types:
            yield from _with_nested(nested)


def _methods() -> Iterator[Entry]:
    for service in services():
        group = short_service_name(service.full_name)
        for method, descriptor in zip(methods_of(service), service.methods, strict=True):
            comment = stored_texts().comment_of(descriptor)
            yield _entry(Kind.METHOD, method.full_name, f"{group}.{method.name}", group, comment)


def _types() -> Iterator[Entry]:
    sides = {side.full_name for service in services() for each in service.methods
             for side in (each.input_type, each.output_type)}  # fmt: skip
    for each in types():
        group = short_package(each.file.package)
        kind = _kind_of(each)
        title = f"{group}.{each.full_name.removeprefix(f'{each.file.package}.')}"
        comment = stored_texts().comment_of(each)
        yield _entry(kind, each.full_name, title, group, comment, is_of_one_method=each.full_name in sides)


def _kind_of(described: Descriptor | EnumDescriptor) -> Kind:
    if isinstance(described, EnumDescriptor):
        return Kind.ENUM
    return Kind.EVENT if is_event(described) else Kind.MESSAGE


def _errors() -> Iterator[Entry]:
    for each in all_reasons():
        yield _entry(Kind.ERROR, each.reason, each.reason, ERRORS, f"{each.code}: {each.meaning}")


def _entry(kind: Kind, name: str, title: str, group: str, comment: str, *, is_of_one_method: bool = False) -> Entry:
    text = f"{name} {title} {one_line(comment)}".lower()
    return Entry(kind, name, title, group, first_sentence(comment), text, is_of_one_method)
