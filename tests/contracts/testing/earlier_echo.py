"""Earlier releases of the echo service's contracts: today's with an edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from contracts.image import Image
from contracts.testing import PreviousRelease
from solo60.example.v1 import echo_pb2
from solo60.mesh.v1 import policy_pb2
from tests.support.images import set_with_imports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, MethodDescriptorProto

    Edit = Callable[[FileDescriptorProto], object]


def release(*edits: Edit, allowed: Iterable[str] = ()) -> PreviousRelease:
    """Return the release v1, whose contracts are today's with these edits."""
    file = FileDescriptorProto()
    echo_pb2.DESCRIPTOR.CopyToProto(file)
    for edit in edits:
        edit(file)
    return PreviousRelease("v1", Image(set_with_imports([file])), frozenset(allowed))


def method_in(file: FileDescriptorProto, name: str) -> MethodDescriptorProto:
    """Return a method of the echo service."""
    return next(each for each in file.service[0].method if each.name == name)


def policy_in(file: FileDescriptorProto, name: str) -> policy_pb2.MethodPolicy:
    """Return the policy of a method."""
    return method_in(file, name).options.Extensions[policy_pb2.policy]


def field_in(file: FileDescriptorProto, message: str, name: str) -> FieldDescriptorProto:
    """Return a field of a message."""
    [found] = [each for each in file.message_type if each.name == message]
    return next(field for field in found.field if field.name == name)


def without(message: str, name: str) -> Edit:
    """Return the edit that removes a field."""

    def edit(file: FileDescriptorProto) -> None:
        [found] = [each for each in file.message_type if each.name == message]
        found.field.remove(field_in(file, message, name))

    return edit


def with_text(message: str, name: str, number: int) -> Edit:
    """Return the edit that adds a text field."""

    def edit(file: FileDescriptorProto) -> None:
        [found] = [each for each in file.message_type if each.name == message]
        kind, label = found.field[0].TYPE_STRING, found.field[0].LABEL_OPTIONAL
        found.field.add(name=name, number=number, type=kind, label=label, json_name=name)

    return edit
