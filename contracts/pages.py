"""Pagination rules: fields that AIP-158 requires in list methods."""

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
    """Return whether the name of a method starts with List or Search."""
    return method.name.startswith(_VERBS)


def problems_of_pages(method: MethodDescriptor) -> Iterator[str]:
    """Yield one sentence for each missing field of a list method: page_size, page_token and next_page_token.

    Yields another one for an upper limit on page_size: servers lower larger values, so the contract must not reject
    such values.
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
            yield f"{method.name} returns a list: {message.name} needs a field {name} of type {kind_name} (AIP-158)"
    if _has(method.input_type, "page_size", _NUMBER):
        rules = method.input_type.fields_by_name["page_size"].GetOptions().Extensions[validate_pb2.field].int32
        if rules.WhichOneof("less_than"):
            yield "page_size must have no upper limit, because servers lower larger values (AIP-158)"


def _has(message: Descriptor, name: str, kind: int) -> bool:
    field = message.fields_by_name.get(name)
    return field is not None and field.type == kind and not field.is_repeated
