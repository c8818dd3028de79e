"""Message types that tests declare at run time, in the descriptor pool of generated code."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any

from google.protobuf import (
    any_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    text_format,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

from buf.validate import validate_pb2
from solo60.common.v1 import text_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

_NUMBERS = count()
# Types that a declaration may name although no contract uses them; importing their modules adds them to the pool.
_WELL_KNOWN = (any_pb2, duration_pb2, field_mask_pb2, timestamp_pb2, wrappers_pb2)
_RULES = (validate_pb2.DESCRIPTOR.name, text_pb2.DESCRIPTOR.name)

# Declarations of a map `x` of texts, and of its entries inside of the message.
PAIRS = 'type: TYPE_MESSAGE type_name: ".PACKAGE.Declared.XEntry" label: LABEL_REPEATED'
ENTRY = """nested_type { name: "XEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }"""


def declare(messages: str, *, syntax: str = "proto3") -> type[Message]:
    """Return the first message type of `file_with(messages)`."""
    return add(file_with(messages, syntax=syntax))


def file_with(messages: str, *, syntax: str = "proto3") -> FileDescriptorProto:
    """Return a file with these messages, in text format, that imports each type that it uses.

    PACKAGE is a package of its own.
    """
    package = f"declared_{next(_NUMBERS)}"
    used = re.findall(r'type_name:\s*"\.(?!PACKAGE)([\w.]+)"|\[(declared_[\w.]+)\]', messages)
    files = {descriptor_pool.Default().FindFileContainingSymbol(kind or rule).name for kind, rule in used}
    imports = ", ".join(f'"{each}"' for each in sorted({*_RULES, *files}))
    text = f'name: "{package}.proto" package: "{package}" syntax: "{syntax}" dependency: [{imports}] {messages}'
    return text_format.Parse(text.replace("PACKAGE", package), FileDescriptorProto())


def add(file: FileDescriptorProto) -> type[Message]:
    """Add a file to the pool of generated code, and return its first message type."""
    descriptor_pool.Default().Add(file)
    return GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName(f"{file.package}.{file.message_type[0].name}")
    )


def with_field(declaration: str, rules: str, more: str = "", *, is_optional: bool = False) -> Any:
    """Return a type whose field `x` has this declaration and these rules; `more` is text inside the message."""
    presence = "proto3_optional: true oneof_index: 0" if is_optional else ""
    oneof = 'oneof_decl { name: "_x" }' if is_optional else ""
    return declare(f"""message_type {{ name: "Declared" {oneof} {more}
        field {{ name: "x" number: 1 {declaration} {presence} options {{ [buf.validate.field] {{ {rules} }} }} }} }}""")
