"""Predicates of message types, each compiled once from the rules of its fields."""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING

import protovalidate
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from contracts.malformed_times import is_well_formed
from contracts.plain.expressions import accepts_expressions
from contracts.plain.predicates import Accepts, all_of, anything, doubtful
from contracts.plain.rules import Rules, rules_in
from contracts.plain.texts import are_lines, is_line
from contracts.plain.values import accepts_value
from contracts.validators import COLLECTORS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from google.protobuf.descriptor import Descriptor, FileDescriptor, OneofDescriptor
    from google.protobuf.message import Message


class _PlainChecks(dict[type["Message"], Accepts]):
    """Predicates of message types, each compiled when its type is first looked up.

    All messages of types outside of generated code are doubtful, because a stored predicate would outlive their pool.
    """

    def __missing__(self, message_type: type[Message]) -> Accepts:
        if message_type.DESCRIPTOR.file.pool is not descriptor_pool.Default():
            return doubtful
        return self.setdefault(message_type, _Compilation().of_message(message_type.DESCRIPTOR))


# PLAIN_CHECKS[type(message)](message) returns True only if contracts.request_violations.check_request would accept the
# message. It is `doubtful` itself if no message of the type can be plain.
PLAIN_CHECKS = _PlainChecks()

_KNOWN_IGNORES = (validate_pb2.IGNORE_UNSPECIFIED, validate_pb2.IGNORE_IF_ZERO_VALUE)
_FRACTIONS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


class _Compilation:
    """Compilation of the predicate of one message type, and of the types of the messages in it."""

    def __init__(self) -> None:
        self._compiled: dict[str, Accepts] = {Timestamp.DESCRIPTOR.full_name: is_well_formed}

    def of_message(self, descriptor: Descriptor) -> Accepts:
        """Return the predicate of messages of a type."""
        name = descriptor.full_name
        if name not in self._compiled:
            # A message may contain messages of its own type, so the predicate is looked up when it is called.
            self._compiled[name] = lambda message: self._compiled[name](message)  # noqa: PLW0108 - it changes below
            whole = _accepts_whole(descriptor)
            self._compiled[name] = doubtful if whole is doubtful else all_of(self._of_fields(descriptor), whole)
        return self._compiled[name]

    def _of_fields(self, descriptor: Descriptor) -> Accepts:
        always: dict[str, Accepts] = {}
        if_present: dict[str, Accepts] = {}
        required = {oneof.name for oneof in descriptor.oneofs if _rules_of_oneof(oneof).get("required")}
        for field in descriptor.fields:
            rules = rules_in(field.GetOptions().Extensions[validate_pb2.field])
            is_required, ignored = rules.pop("required", False), rules.pop("ignore", validate_pb2.IGNORE_UNSPECIFIED)
            accepts = accepts_value(field, rules, self.of_message) if ignored in _KNOWN_IGNORES else doubtful
            if not field.has_presence:
                always[field.name] = _without_presence(field, accepts, ignored, is_required=is_required)
            elif is_required:
                always[field.name] = accepts
                required.add(field.name)
            else:
                if_present[field.name] = accepts
        return doubtful if doubtful in always.values() else _accepts_fields(always, if_present, required)


def _without_presence(field: FieldDescriptor, accepts: Accepts, ignored: int, *, is_required: bool) -> Accepts:
    """Return the predicate for all values of a field; `accepts` is that for values to which its rules apply."""
    if is_required:
        return all_of(bool, accepts)
    # protovalidate does not ignore the number -0.0, which Python takes for zero.
    if ignored != validate_pb2.IGNORE_UNSPECIFIED and field.cpp_type not in _FRACTIONS:
        return lambda value: not value or accepts(value)
    return accepts


def _accepts_fields(
    always: Mapping[str, Accepts], if_present: Mapping[str, Accepts], required: Collection[str]
) -> Accepts:
    """Return the predicate for messages with these predicates of their fields; `required` may name oneofs too."""
    lines = [name for name, accepts in always.items() if accepts is is_line]
    values = [(attrgetter(name), accepts) for name, accepts in always.items() if accepts not in (is_line, anything)]
    if lines:
        values.append((attrgetter(*lines), is_line if len(lines) == 1 else are_lines))
    optional = [(name, accepts) for name, accepts in if_present.items() if accepts is not anything]

    def accepts_all(message: Message) -> bool:
        for name in required:
            if not message.HasField(name):
                return False
        for get, accepts in values:
            if not accepts(get(message)):
                return False
        for name, accepts in optional:  # noqa: SIM110 - a generator would cost more than the loop
            if message.HasField(name) and not accepts(getattr(message, name)):
                return False
        return True

    return accepts_all if values or optional or required else anything


def _accepts_whole(descriptor: Descriptor) -> Accepts:
    """Return the predicate for the rules of a whole message; `doubtful` if a rule of its type is unknown or invalid."""
    rules = rules_in(descriptor.GetOptions().Extensions[validate_pb2.message])
    unknown = rules.keys() - {"cel"}
    for oneof in descriptor.oneofs:
        unknown |= _rules_of_oneof(oneof).keys() - {"required"}
    if unknown or not _is_proto3(descriptor.file) or not _compiles(descriptor):
        return doubtful
    return accepts_expressions(descriptor, rules.get("cel", ()))


def _rules_of_oneof(oneof: OneofDescriptor) -> Rules:
    return rules_in(oneof.GetOptions().Extensions[validate_pb2.oneof])


def _compiles(descriptor: Descriptor) -> bool:
    """Return whether the rules of a type compile; if they do not, protovalidate raises an error for each message."""
    message_type = GetMessageClass(descriptor)
    try:
        COLLECTORS[message_type](message_type())
    except (protovalidate.CompilationError, protovalidate.EvaluationError):
        return False
    return True


@cache
def _is_proto3(file: FileDescriptor) -> bool:
    """Return whether a file is in proto3, which has neither extensions of messages nor texts that are not UTF-8."""
    declared = FileDescriptorProto()
    file.CopyToProto(declared)
    return declared.syntax == "proto3"
