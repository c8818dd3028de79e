"""JSON form of the documents about methods, types and errors."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from operations.contracts.catalog import Kind, find_entry, type_of
from operations.contracts.documents import document_of_method, document_of_type
from operations.contracts.error_reasons import methods_with, reason_named

if TYPE_CHECKING:
    from contracts.method import Method
    from operations.contracts.catalog import Entry
    from operations.contracts.error_reasons import Reason
    from operations.contracts.field_rules import FieldRules


def summary_of(method: Method) -> dict[str, object]:
    """Return the names, the shape and the scopes of a method."""
    return {
        "method": method.full_name,
        "name": method.short_name,
        "request_streaming": method.request_streaming,
        "response_streaming": method.response_streaming,
        "scopes": sorted(method.policy.scopes),
        "contract_only": method.policy.contract_only,
    }


def description_of(method: Method) -> dict[str, object]:
    """Return the summary of a method, its request and response with all fields, and the errors that it declares."""
    document = document_of_method(method)
    return {
        **summary_of(method),
        "comment": document.comment,
        "read_only": document.is_read_only,
        "request": {
            "type": method.request_type.DESCRIPTOR.full_name,
            "fields": list(map(_field, document.request)),
            "rules": document.request_rules,
            "example": document.example,
        },
        "response": {
            "type": method.response_type.DESCRIPTOR.full_name,
            "fields": list(map(_field, document.response)),
        },
        "errors": list(map(_reason, document.errors)),
    }


def description_of_other(name: str) -> dict[str, object] | None:
    """Return the description of an event, a message, an enum or an error reason, or None if there is none."""
    entry = find_entry(name)
    if entry is None or entry.kind == Kind.METHOD:
        return None
    return _error(entry) if entry.kind == Kind.ERROR else _type(entry)


def _error(entry: Entry) -> dict[str, object]:
    reason = reason_named(entry.name)
    methods = None if reason.of_every_method else [each.full_name for each in methods_with(reason)]
    return {"kind": entry.kind.value, **_reason(reason), "methods": methods}


def _type(entry: Entry) -> dict[str, object]:
    document = document_of_type(type_of(entry.name))
    described: dict[str, object] = {"kind": document.kind, "name": document.name, "comment": document.comment}
    if document.values:
        described["values"] = [asdict(each) for each in document.values]
    else:
        described |= {"fields": list(map(_field, document.fields)), "rules": document.rules}
    if entry.kind == Kind.EVENT:
        described |= {
            "publisher": document.publisher,
            "subscribers": document.subscribers,
            "aggregate_key": document.aggregate_key,
        }
    return {**described, "used_by": document.used_by}


def _field(field: FieldRules) -> dict[str, object]:
    return {
        "path": field.path,
        "type": field.type,
        "rules": field.rules,
        "comment": field.comment,
        "personal_data": field.is_personal,
    }


def _reason(reason: Reason) -> dict[str, object]:
    return {"reason": reason.reason, "code": reason.code, "meaning": reason.meaning}
