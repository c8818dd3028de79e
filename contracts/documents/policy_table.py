"""Policy of a method as rows of a table and as JSON.

Every option that the contract declares appears by itself, so a new option needs no change here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import MethodOptions

from contracts.documents.catalog import PII, POLICY, REVERSED, Catalog
from contracts.documents.option_text import default_in_words, option_as_json, option_in_words, without_prefix
from contracts.message_types import is_map
from contracts.reason_numbers import FIRST_DOMAIN_REASON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import Descriptor, EnumValueDescriptor, FieldDescriptor, MethodDescriptor

    from contracts.documents.json_schema import Schema

    # Returns the text for a name: a link, if the name is that of a method or a message.
    Link = Callable[[str], str]

STATUS_CODE = "google.rpc.Code"
MAX_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Row:
    """Row of the table of a policy."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason for an error that a method declares: its name as sent, its status code, and its meaning."""

    name: str
    code: str
    meaning: str


def policy_as_json(catalog: Catalog, method: MethodDescriptor) -> Schema | None:
    """Return the policy of a method with the names of the contract, including defaults; None if there is none."""
    policy = catalog.option_of(method, POLICY)
    return None if policy is None else option_as_json(catalog, policy)


def policy_rows(catalog: Catalog, method: MethodDescriptor, link: Link) -> list[Row]:
    """Return the rows of the policy of a method: declared options, references from other methods, personal data."""
    policy = policy_as_json(catalog, method)
    rows = list(_options(catalog, method, policy, link)) if policy is not None else []
    rows += _repetition(method)
    for option, words in REVERSED.items():
        callers = catalog.callers_of(method, option)
        if callers:
            rows.append(Row(words, ", ".join(map(link, callers))))
    rows += _personal_data(catalog, method)
    if policy is not None:
        rows += _undeclared(catalog, policy)
    return rows


def reasons_of(catalog: Catalog, method: MethodDescriptor) -> list[Reason]:
    """Return the reasons that a method declares for its errors."""
    policy = catalog.option_of(method, POLICY)
    if policy is None:
        return []
    enum = policy.DESCRIPTOR.fields_by_name["errors"].enum_type
    return [reason_of(catalog, enum.values_by_number[number]) for number in policy.errors]


def platform_reasons(catalog: Catalog) -> list[Reason]:
    """Return the reasons that any method with a policy may return."""
    if not any(catalog.option_of(method, POLICY) is not None for method in catalog.methods()):
        return []
    extension = catalog.image.extension(POLICY)
    declared = None if extension is None else extension.message_type
    enum = None if declared is None else declared.fields_by_name["errors"].enum_type
    values = () if enum is None else enum.values
    return [reason_of(catalog, value) for value in values if 0 < value.number < FIRST_DOMAIN_REASON]


def reason_of(catalog: Catalog, value: EnumValueDescriptor) -> Reason:
    """Return a reason with the status code in its options and the meaning in its comment."""
    meaning = " ".join(catalog.comment_of(value).split())
    code = next(
        (
            option.enum_type.values_by_number[number].name
            for option, number in catalog.image.options_of(value).ListFields()
            if option.enum_type is not None and option.enum_type.full_name == STATUS_CODE
        ),
        "UNKNOWN",
    )
    return Reason(without_prefix(value.type, value.name), code, meaning)


def pii_paths(catalog: Catalog, message: Descriptor, depth: int = MAX_DEPTH) -> Iterator[str]:
    """Yield the paths of the fields with personal data in a message and in the messages of its fields."""
    for field in message.fields:
        if catalog.option_of(field, PII):
            yield field.name
        elif field.message_type is not None and depth and not is_map(field):
            yield from (f"{field.name}.{path}" for path in pii_paths(catalog, field.message_type, depth - 1))


def _options(catalog: Catalog, method: MethodDescriptor, policy: Schema, link: Link) -> Iterator[Row]:
    declared = catalog.option_of(method, POLICY)
    fields: dict[str, FieldDescriptor] = declared.DESCRIPTOR.fields_by_name if declared is not None else {}
    set_fields = {field.name for field, _ in declared.ListFields()} if declared is not None else set()
    for name, value in policy.items():
        field = fields[name]
        is_text = field.type == field.TYPE_STRING
        values = value if field.is_repeated else [value]
        text = ", ".join(map(link, values)) if is_text else option_in_words(field, value)
        yield Row(_words(name), text if name in set_fields else f"{text} (default)")


def _undeclared(catalog: Catalog, policy: Schema) -> Iterator[Row]:
    """Yield one row with the defaults that comments only describe, such as "no retries"."""
    extension = catalog.image.extension(POLICY)
    fields = extension.message_type.fields if extension is not None and extension.message_type is not None else ()
    words = ((field, default_in_words(catalog, field)) for field in fields if field.name not in policy)
    defaults = [f"{_words(field.name)}: {text}" for field, text in words if text]
    if defaults:
        yield Row("not declared", "; ".join(defaults))


def _repetition(method: MethodDescriptor) -> Iterator[Row]:
    level = method.GetOptions().idempotency_level
    if level:
        yield Row("idempotency level", MethodOptions.IdempotencyLevel.Name(level))


def _personal_data(catalog: Catalog, method: MethodDescriptor) -> Iterator[Row]:
    sides = (("request", method.input_type), ("response", method.output_type))
    found = [
        f"{side} {', '.join(f'`{path}`' for path in paths)}"
        for side, message in sides
        if (paths := list(pii_paths(catalog, message)))
    ]
    if found:
        yield Row("personal data", "; ".join(found))


def _words(name: str) -> str:
    return name.replace("_", " ")
