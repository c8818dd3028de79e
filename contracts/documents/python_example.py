"""Python lines that call a method through its typed stub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import (
        Descriptor,
        EnumDescriptor,
        FieldDescriptor,
        MethodDescriptor,
        ServiceDescriptor,
    )
    from google.protobuf.message import Message

    from contracts.field_value import FieldValue

LIMIT = 100
INDENT = "    "


class PythonExpression:
    """Python expression that builds a message, and the imports that it needs, by module."""

    def __init__(self, message: Message) -> None:
        self.imports: dict[str, set[str]] = {}
        self.text = self._message(message, "")

    def import_lines(self) -> Iterator[str]:
        """Yield the import statements, sorted."""
        for module, names in sorted(self.imports.items()):
            yield f"from {module} import {', '.join(sorted(names))}"

    def _message(self, message: Message, indent: str) -> str:
        return f"{self._name(cast('Descriptor', message.DESCRIPTOR))}{self._arguments(message, indent)}"

    def _arguments(self, message: Message, indent: str) -> str:
        inner = indent + INDENT
        pairs = [f"{field.name}={self._value(field, value, inner)}" for field, value in message.ListFields()]
        return _joined("(", pairs, ")", indent)

    def _value(self, field: FieldDescriptor, value: FieldValue, indent: str) -> str:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            key_field, value_field = kind.fields_by_name["key"], kind.fields_by_name["value"]
            pairs = [
                f"{self._single(key_field, key, '')}: {self._single(value_field, value[key], indent)}"
                for key in sorted(value)
            ]
            return _joined("{", pairs, "}", indent)
        if field.is_repeated:
            return _joined("[", [self._single(field, each, indent + INDENT) for each in value], "]", indent)
        return self._single(field, value, indent)

    def _single(self, field: FieldDescriptor, value: FieldValue, indent: str) -> str:
        if field.message_type is not None:
            return self._message(value, indent)
        if field.enum_type is not None:
            return self._enum(field.enum_type, value)
        return _quoted(value) if isinstance(value, str) else repr(value)

    def _enum(self, enum: EnumDescriptor, number: int) -> str:
        value = enum.values_by_number.get(number)
        if value is None:
            return str(number)
        if enum.containing_type is not None:
            return f"{self._name(enum.containing_type)}.{value.name}"
        self.add_import(module_of(enum), value.name)
        return str(value.name)

    def _name(self, message: Descriptor) -> str:
        outer = message
        while outer.containing_type is not None:
            outer = outer.containing_type
        self.add_import(module_of(outer), outer.name)
        package = message.file.package
        return message.full_name.removeprefix(f"{package}.") if package else message.full_name

    def add_import(self, module: str, name: str) -> None:
        """Import a name from a module."""
        self.imports.setdefault(module, set()).add(name)


def module_of(described: Descriptor | EnumDescriptor | ServiceDescriptor) -> str:
    """Return the Python module that protoc generates from the file of a declaration."""
    return f"{described.file.name.removesuffix('.proto').replace('/', '.').replace('-', '_')}_pb2"


@dataclass(frozen=True, slots=True)
class BareChannel:
    """Channel without the client chain of the mesh: Python expressions for its address and for each header."""

    address: str
    headers: tuple[tuple[str, str], ...]

    def lines(self) -> Iterator[str]:
        """Yield the lines that open the channel."""
        headers = ", ".join(f'("{name}", {value})' for name, value in self.headers)
        yield f"{INDENT}metadata = [{headers}]"
        yield f"{INDENT}async with grpc.aio.insecure_channel({self.address}) as channel:"


def python_call(
    method: MethodDescriptor, request: Message, channel: BareChannel | None, further_arguments: str = ""
) -> str:
    """Return a program that calls `method` on a channel, or with the client chain of the mesh.

    `further_arguments` follow the request in the call, as in ", timeout=2".
    """
    expression = PythonExpression(request)
    stub = f"{method.containing_service.name}Stub"
    expression.add_import(f"{module_of(method.containing_service)}_grpc", stub)
    if channel is None:
        expression.add_import("mesh.serving.channel", "connect")
        opening = [f"{INDENT}async with connect({stub}) as stub:"]
    else:
        opening = [*channel.lines(), f"{INDENT * 2}stub = {stub}(channel)"]
    arguments = "" if channel is None else ", metadata=metadata"
    lines = [*_imports(expression, channel), "", "", "async def main() -> None:", *opening]
    lines += _call(method, expression.text, arguments + further_arguments, INDENT * 2)
    return "\n".join([*lines, "", "", "asyncio.run(main())"])


def _imports(expression: PythonExpression, channel: BareChannel | None) -> Iterator[str]:
    yield "import asyncio"
    if channel is not None:
        yield "import os"
        if any("uuid4" in value for _, value in channel.headers):
            yield "from uuid import uuid4"
        yield from ("", "import grpc.aio")
    yield from ("", *expression.import_lines())


def _call(method: MethodDescriptor, request: str, arguments: str, indent: str) -> Iterator[str]:
    yield f"{indent}request = {request.replace(chr(10), chr(10) + indent)}"
    sent = "iter([request])" if method.client_streaming else "request"
    call = f"stub.{method.name}({sent}{arguments})"
    if method.server_streaming:
        yield f"{indent}async for response in {call}:"
        yield f"{indent}{INDENT}print(response)"
    else:
        yield f"{indent}print(await {call})"


def _joined(opening: str, parts: list[str], closing: str, indent: str) -> str:
    line = f"{opening}{', '.join(parts)}{closing}"
    if len(line) + len(indent) <= LIMIT - 30 and "\n" not in line:
        return line
    inner = "".join(f"{indent}{INDENT}{part},\n" for part in parts)
    return f"{opening}\n{inner}{indent}{closing}"


def _quoted(text: str) -> str:
    quoted = repr(text)
    return f'"{quoted[1:-1]}"' if '"' not in quoted and quoted[0] == "'" else quoted
