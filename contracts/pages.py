"""Pages in contracts: a method that lists has them, in the words of AIP-158."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from buf.validate import validate_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, MethodDescriptor

_VERBS = ("List", "Search")
_TEXT, _NUMBER = FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_INT32


def is_list(method: MethodDescriptor) -> bool:
    """Return whether the name of a method says that it lists."""
    return method.name.startswith(_VERBS)


def problems_of_pages(method: MethodDescriptor) -> Iterator[str]:
    """Yield the fields that a listing method lacks: page_size, page_token, and next_page_token in the response.

    A page_size above the limit is lowered to it, so no rule of the contract may refuse one.
    """
    if not is_list(method):
        return
    for message, name, kind in (
        (method.input_type, "page_size", _NUMBER),
        (method.input_type, "page_token", _TEXT),
        (method.output_type, "next_page_token", _TEXT),
    ):
        if not _has(message, name, kind):
            kind_name = "int32" if kind == _NUMBER else "string"
            yield f"{method.name} lists: {message.name} needs a field {name} of type {kind_name} (AIP-158)"
    if _has(method.input_type, "page_size", _NUMBER):
        rules = method.input_type.fields_by_name["page_size"].GetOptions().Extensions[validate_pb2.field].int32
        if rules.WhichOneof("less_than"):
            yield "page_size: a size above the limit is lowered, not refused (AIP-158)"


def _has(message: Descriptor, name: str, kind: int) -> bool:
    field = message.fields_by_name.get(name)
    return field is not None and field.type == kind and not field.is_repeated
