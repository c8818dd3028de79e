"""Export of buf/validate/validate.proto as source, from the descriptor in the protovalidate package.

No package ships the file, and buf needs it to compile field rules. The source has no comments, but compiles to the same
FileDescriptorProto (tests/contracts/test_codegen.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    message_factory,
    timestamp_pb2,
)
from google.protobuf.descriptor import FieldDescriptor
from protovalidate._gen.buf.validate import validate_pb

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from google.protobuf.message import Message

    from contracts.field_value import FieldValue

FIELD = descriptor_pb2.FieldDescriptorProto
NAMED_TYPES = ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
SCALARS = {number: name.removeprefix("TYPE_").lower() for name, number in FIELD.Type.items() if name not in NAMED_TYPES}
LABELS = {FIELD.LABEL_OPTIONAL: "optional ", FIELD.LABEL_REQUIRED: "required ", FIELD.LABEL_REPEATED: "repeated "}
LAST_FIELD_NUMBER = 536870911


def validate_file() -> descriptor_pb2.FileDescriptorProto:
    """Return the descriptor of validate.proto that the protovalidate package was built with."""
    return descriptor_pb2.FileDescriptorProto.FromString(validate_pb._DESC.proto.to_binary())  # noqa: SLF001 - the package has no public export


def write_validate_proto(folder: Path) -> None:
    """Write buf/validate/validate.proto below `folder`."""
    file = validate_file()
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Printer(file).text(), encoding="utf-8")


class Printer:
    """Printer of a file descriptor as proto source. Supports the features that validate.proto uses."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self._file = file
        self._lines: list[str] = []
        # A separate pool, so that custom options of this same file can be read.
        self._pool = descriptor_pool.DescriptorPool()
        for dependency in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
            self._pool.AddSerializedFile(dependency.DESCRIPTOR.serialized_pb)
        self._pool.AddSerializedFile(file.SerializeToString())

    def text(self) -> str:
        file = self._file
        self._out(0, "// Generated from the descriptor in the installed protovalidate package. Do not commit.")
        self._out(0, f'syntax = "{file.syntax or "proto2"}";')
        self._out(0, f"package {file.package};")
        for dependency in file.dependency:
            self._out(0, f'import "{dependency}";')
        for option in self._options(file.options):
            self._out(0, f"option {option};")
        self._extensions(0, file.extension)
        for enum in file.enum_type:
            self._enum(0, enum)
        for message in file.message_type:
            self._message(0, message)
        return "\n".join(self._lines) + "\n"

    def _out(self, depth: int, text: str) -> None:
        self._lines.append("  " * depth + text)

    def _value(self, field: FieldDescriptor, value: FieldValue) -> str:
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            return "{" + " ".join(self._set_field(inner, each) for inner, each in value.ListFields()) + "}"
        if field.enum_type is not None:
            return str(field.enum_type.values_by_number[value].name)
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return json.dumps(value if isinstance(value, str) else value.decode("latin-1"), ensure_ascii=False)
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return "true" if value else "false"
        return repr(value)

    def _set_field(self, field: FieldDescriptor, value: FieldValue) -> str:
        name = f"[{field.full_name}]" if field.is_extension else field.name
        values = value if field.is_repeated else [value]
        return " ".join(f"{name}: {self._value(field, each)}" for each in values)

    def _options(self, options: Message) -> list[str]:
        if not options.ByteSize():
            return []
        descriptor = self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name)
        reparsed = message_factory.GetMessageClass(descriptor).FromString(options.SerializeToString())
        found = []
        for field, value in reparsed.ListFields():
            name = f"({field.full_name})" if field.is_extension else field.name
            found += [f"{name} = {self._value(field, each)}" for each in (value if field.is_repeated else [value])]
        return found

    def _field(self, depth: int, field: descriptor_pb2.FieldDescriptorProto, *, label: str) -> None:
        options = []
        if field.HasField("default_value"):
            default = field.default_value
            options.append(f"default = {json.dumps(default) if field.type == FIELD.TYPE_STRING else default}")
        options += self._options(field.options)
        tail = f" [{', '.join(options)}]" if options else ""
        self._out(depth, f"{label}{SCALARS.get(field.type) or field.type_name} {field.name} = {field.number}{tail};")

    def _reserved(
        self,
        depth: int,
        declared: descriptor_pb2.DescriptorProto | descriptor_pb2.EnumDescriptorProto,
        *,
        inclusive: bool,
    ) -> None:
        if declared.reserved_range:
            self._out(depth, f"reserved {ranges(declared.reserved_range, inclusive=inclusive)};")
        if declared.reserved_name:
            self._out(depth, "reserved " + ", ".join(json.dumps(name) for name in declared.reserved_name) + ";")

    def _enum(self, depth: int, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        self._out(depth, f"enum {enum.name} {{")
        for option in self._options(enum.options):
            self._out(depth + 1, f"option {option};")
        for value in enum.value:
            options = self._options(value.options)
            tail = f" [{', '.join(options)}]" if options else ""
            self._out(depth + 1, f"{value.name} = {value.number}{tail};")
        self._reserved(depth + 1, enum, inclusive=True)
        self._out(depth, "}")

    def _extensions(self, depth: int, extensions: Iterable[descriptor_pb2.FieldDescriptorProto]) -> None:
        for extension in extensions:
            self._out(depth, f"extend {extension.extendee} {{")
            self._field(depth + 1, extension, label=LABELS[extension.label])
            self._out(depth, "}")

    def _oneof(self, depth: int, message: descriptor_pb2.DescriptorProto, index: int) -> None:
        oneof = message.oneof_decl[index]
        self._out(depth, f"oneof {oneof.name} {{")
        for option in self._options(oneof.options):
            self._out(depth + 1, f"option {option};")
        for field in message.field:
            if field.HasField("oneof_index") and field.oneof_index == index:
                self._field(depth + 1, field, label="")
        self._out(depth, "}")

    def _message(self, depth: int, message: descriptor_pb2.DescriptorProto) -> None:
        if any(nested.options.map_entry for nested in message.nested_type):
            raise NotImplementedError(f"{message.name} has a map field, which this printer does not support.")
        self._out(depth, f"message {message.name} {{")
        for option in self._options(message.options):
            self._out(depth + 1, f"option {option};")
        printed_oneofs: set[int] = set()
        for field in message.field:
            if not field.HasField("oneof_index"):
                self._field(depth + 1, field, label=LABELS[field.label])
            elif field.oneof_index not in printed_oneofs:
                printed_oneofs.add(field.oneof_index)
                self._oneof(depth + 1, message, field.oneof_index)
        for nested in message.nested_type:
            self._message(depth + 1, nested)
        for enum in message.enum_type:
            self._enum(depth + 1, enum)
        if message.extension_range:
            self._out(depth + 1, f"extensions {ranges(message.extension_range, inclusive=False)};")
        self._reserved(depth + 1, message, inclusive=False)
        self._extensions(depth + 1, message.extension)
        self._out(depth, "}")


def ranges(declared: Iterable[Any], *, inclusive: bool) -> str:
    """Format number ranges. Enums declare inclusive ends, messages exclusive ends."""
    parts = []
    for each in declared:
        last = each.end if inclusive else each.end - 1
        upper = "max" if last >= LAST_FIELD_NUMBER else last
        parts.append(str(each.start) if each.start == last else f"{each.start} to {upper}")
    return ", ".join(parts)
