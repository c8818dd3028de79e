"""Plain values of fields: quick predicates, compiled from the rules that a contract declares.

A rule that this module does not know makes a value doubtful.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from contracts.message_types import is_map
from contracts.plain.expressions import accepts_expressions
from contracts.plain.predicates import Accepts, all_of, anything, doubtful
from contracts.plain.rules import Rules, rules_in
from contracts.plain.texts import accepts_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor

_LEAST, _MOST = -(2**63), 2**64


def accepts_value(field: FieldDescriptor, rules: Rules, of_message: Callable[[Descriptor], Accepts]) -> Accepts:
    """Return the predicate for the values of a field with these rules; `of_message` returns that for a message."""
    if field.message_type is not None and is_map(field):
        return _accepts_map(field.message_type, rules, of_message)
    if field.is_repeated:
        return _accepts_list(field, rules, of_message)
    return _accepts_element(field, rules, of_message)


def _accepts_element(field: FieldDescriptor, rules: Rules, of_message: Callable[[Descriptor], Accepts]) -> Accepts:
    if field.message_type is not None:
        if rules.keys() - {"cel"}:
            return doubtful
        return all_of(of_message(field.message_type), accepts_expressions(field.message_type, rules.get("cel", ())))
    kind = _KINDS[field.type]
    if not rules:
        return accepts_text({}) if kind == "string" else anything
    if rules.keys() != {kind} or kind not in _BUILDERS:
        return doubtful
    return _BUILDERS[kind](field, rules_in(rules[kind]))


def _accepts_list(field: FieldDescriptor, rules: Rules, of_message: Callable[[Descriptor], Accepts]) -> Accepts:
    if rules.keys() - {"repeated"}:
        return doubtful
    limits = rules_in(rules["repeated"]) if rules else {}
    items = rules_in(limits.pop("items")) if "items" in limits else {}
    lowest, highest = limits.pop("min_items", 0), limits.pop("max_items", _MOST)
    is_unique = limits.pop("unique", False)
    if limits or (is_unique and _KINDS.get(field.type) not in _COMPARABLE):
        return doubtful
    accepts = _accepts_element(field, items, of_message)
    if is_unique:
        return lambda items: (
            lowest <= len(items) <= highest and len(set(items)) == len(items) and all(map(accepts, items))
        )
    return lambda items: lowest <= len(items) <= highest and all(map(accepts, items))


def _accepts_map(entry: Descriptor, rules: Rules, of_message: Callable[[Descriptor], Accepts]) -> Accepts:
    if rules.keys() - {"map"}:
        return doubtful
    limits = rules_in(rules["map"]) if rules else {}
    keys, values = (rules_in(limits.pop(name)) if name in limits else {} for name in ("keys", "values"))
    lowest, highest = limits.pop("min_pairs", 0), limits.pop("max_pairs", _MOST)
    if limits:
        return doubtful
    accepts_key = _accepts_element(entry.fields_by_name["key"], keys, of_message)
    accepts = _accepts_element(entry.fields_by_name["value"], values, of_message)
    return lambda pairs: (
        lowest <= len(pairs) <= highest and all(map(accepts_key, pairs)) and all(map(accepts, pairs.values()))
    )


def _accepts_integer(_field: FieldDescriptor, rules: Rules) -> Accepts:
    lowest = max(rules.pop("gte", _LEAST), rules.pop("gt", _LEAST) + 1)
    highest = min(rules.pop("lte", _MOST), rules.pop("lt", _MOST) - 1)
    excluded = frozenset(rules.pop("not_in", ()))
    if rules:
        return doubtful
    # protovalidate reads bounds in reverse order as two ranges. This empty range leaves them to protovalidate.
    allowed = range(lowest, highest + 1)
    if excluded:
        return lambda number: number in allowed and number not in excluded
    return allowed.__contains__


def _accepts_enum(field: FieldDescriptor, rules: Rules) -> Accepts:
    declared = field.enum_type.values_by_number if field.enum_type is not None else ()
    allowed = frozenset(declared) - set(rules.pop("not_in", ()))
    return allowed.__contains__ if not rules.keys() - {"defined_only"} else doubtful


def _accepts_bool(_field: FieldDescriptor, rules: Rules) -> Accepts:
    return frozenset({rules.pop("const", True)}).__contains__ if not rules.keys() - {"const"} else doubtful


def _accepts_bytes(_field: FieldDescriptor, rules: Rules) -> Accepts:
    lowest, highest = rules.pop("min_len", 0), rules.pop("max_len", _MOST)
    return doubtful if rules else lambda data: lowest <= len(data) <= highest


_INTEGERS = ("int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64")
_KINDS = {
    getattr(FieldDescriptor, f"TYPE_{kind.upper()}"): kind
    for kind in (*_INTEGERS, "float", "double", "bool", "enum", "string", "bytes")
}
_COMPARABLE = frozenset({*_INTEGERS, "bool", "enum", "string", "bytes"})
_BUILDERS: dict[str, Callable[[FieldDescriptor, Rules], Accepts]] = {
    **dict.fromkeys(_INTEGERS, _accepts_integer),
    "enum": _accepts_enum,
    "bool": _accepts_bool,
    "bytes": _accepts_bytes,
    "string": lambda _field, rules: accepts_text(rules),
}
