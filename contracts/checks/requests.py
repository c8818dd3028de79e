"""Checks of requests and responses: the field of a rate limit, and the fields of pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from buf.validate import validate_pb2
from contracts.pages import is_list
from contracts.policy import field_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject

_TEXT, _NUMBER = FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_INT32


def rate_limit_field(subject: Subject) -> Iterator[Problem]:
    """Yield each `per_field` that is no single-valued field of the request."""
    for method, policy in subject.policies:
        path = policy.rate_limit.per_field
        if path and field_at(method.input_type, path) is None:
            message = f'rate_limit.per_field: the request has no single-valued field "{path}"'
            yield subject.in_policy(method, f'{message}; name one, such as "user_id"', "rate_limit", "per_field")


def page_field(subject: Subject) -> Iterator[Problem]:
    """Yield each missing field of a list method: page_size, page_token and next_page_token (AIP-158)."""
    for method, _ in subject.policies:
        if is_list(method):
            for message, name, kind in (
                (method.input_type, "page_size", _NUMBER),
                (method.input_type, "page_token", _TEXT),
                (method.output_type, "next_page_token", _TEXT),
            ):
                if not _has(message, name, kind):
                    kind_name = "int32" if kind == _NUMBER else "string"
                    text = f"returns a list: add a field {name} of type {kind_name} to {message.name} (AIP-158)"
                    yield subject.problem(method, text)


def page_limit(subject: Subject) -> Iterator[Problem]:
    """Yield each upper limit on page_size: servers lower larger values, so the contract must not reject them."""
    for method, _ in subject.policies:
        if is_list(method) and _has(method.input_type, "page_size", _NUMBER):
            field = method.input_type.fields_by_name["page_size"]
            rules = field.GetOptions().Extensions[validate_pb2.field].int32
            if rules.WhichOneof("less_than") or rules.HasField("const") or len(getattr(rules, "in")):
                message = "page_size must have no upper limit, because servers lower larger values (AIP-158)"
                yield subject.problem(field, f"{message}; remove lt, lte, const or in")


def _has(message: Descriptor, name: str, kind: int) -> bool:
    field = message.fields_by_name.get(name)
    return field is not None and field.type == kind and not field.is_repeated
