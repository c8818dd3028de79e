"""Limits: the values of protovalidate rules, in a form that can be compared."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from buf.validate import validate_pb2
from solo60.common.v1 import text_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.field_value import FieldValue

# Numbers and names that lead into an option.
Path: TypeAlias = tuple[tuple[int, str], ...]


class Order(Enum):
    """Way to compare two values of a rule."""

    # Pairs of numbers, of which the greater is stricter. Without the rule, there is no limit.
    BOUND = auto()
    # As BOUND, but without the rule the value is `ABSENT_RANK`.
    RANK = auto()
    # Allowed values.
    ONE_OF = auto()
    # Forbidden values.
    NONE_OF = auto()
    # The one allowed value.
    EXACT = auto()
    # An expression, such as a pattern.
    OPAQUE = auto()


ABSENT_RANK = (0, 0)


@dataclass(frozen=True, slots=True)
class Limit:
    """Value of one rule. `text` shows the rule as the contract writes it."""

    order: Order
    value: FieldValue
    text: str
    path: Path


UPPER_BOUNDS = frozenset({"lt", "lte", "max_len", "max_bytes", "max_items", "max_pairs", "within"})
LOWER_BOUNDS = frozenset({"gt", "gte"})
LEAST_SIZES = frozenset({"min_len", "min_bytes", "min_items", "min_pairs"})
EXCLUSIVE_BOUNDS = frozenset({"lt", "gt"})
EXACT_VALUES = frozenset({"const", "len", "len_bytes"})
# Only for documentation.
IRRELEVANT = frozenset({"example"})
# Each text rule accepts only texts that the rule before it accepts.
TEXT_RULES = tuple(
    rule.full_name for rule in (text_pb2.multi_line, text_pb2.line, text_pb2.name, text_pb2.mail_address)
)
# Values that loosen other rules.
_RANKS: dict[str, dict[int, int]] = {
    "ignore": {
        validate_pb2.IGNORE_UNSPECIFIED: 0,
        validate_pb2.IGNORE_IF_ZERO_VALUE: -1,
        validate_pb2.IGNORE_ALWAYS: -2,
    },
    "strict": {True: 0, False: -1},
}
_BOUND_KEYS = {"lt": "<", "lte": "<", "gt": ">", "gte": ">"}


def limits_of(rules: Message, prefix: Path = ()) -> dict[str, Limit]:
    """Return the limits that an option of protovalidate sets, at any depth, by a key.

    Rules with the same key, such as `lt` and `lte`, limit the same thing.
    """
    if isinstance(rules, validate_pb2.FieldRules) and rules.ignore == validate_pb2.IGNORE_ALWAYS:
        return {}
    return {".".join([*(name for _, name in prefix), key]): limit for key, limit in _limits(rules, prefix)} | {
        key: limit
        for field, value in rules.ListFields()
        if holds_rules(field)
        for key, limit in limits_of(value, (*prefix, (field.number, field.name))).items()
    }


def holds_rules(field: FieldDescriptor) -> bool:
    """Return whether a field of an option of protovalidate contains further rules, such as `repeated` or `items`."""
    message = field.message_type
    return (
        message is not None
        and message.file is validate_pb2.DESCRIPTOR
        and not field.is_repeated
        and message.name.endswith("Rules")
    )


def _limits(rules: Message, prefix: Path) -> Iterator[tuple[str, Limit]]:
    """Yield the limits that a message of rules sets itself, each with the last part of its key."""
    for field, value in rules.ListFields():
        name = f"({field.full_name})" if field.is_extension else field.name
        path = (*prefix, (field.number, field.full_name if field.is_extension else field.name))
        title = ".".join([*(part for _, part in prefix), name])
        if holds_rules(field) or name in IRRELEVANT:
            continue
        if name == "cel":
            titles = Counter[str]()
            for index, rule in enumerate(value):
                title = f"cel {rule.id or rule.expression}"
                titles[title] += 1
                title += f" ({titles[title]})" if titles[title] > 1 else ""
                yield title, Limit(Order.OPAQUE, rule.expression, title, (*path, (index, rule.id)))
        elif name == "oneof":
            for rule in value:
                text = f"oneof [{', '.join(rule.fields)}]{' required' if rule.required else ''}"
                yield f"oneof {sorted(rule.fields)}", Limit(Order.RANK, (1 + rule.required, 0), text, path)
        else:
            yield _limit(rules, field, value, title, path)
    for number, content in unknown_rules(rules).items():
        yield str(number), Limit(Order.OPAQUE, content, f"rule {number}", (*prefix, (number, str(number))))


def unknown_rules(rules: Message) -> dict[int, str]:
    """Return the predefined rules of other projects, by number. The generated code of protovalidate lacks them."""
    return {each.field_number: str(each.data) for each in UnknownFieldSet(rules)}  # type: ignore[attr-defined]  # the stubs lack its iterator


def _limit(rules: Message, field: FieldDescriptor, value: FieldValue, title: str, path: Path) -> tuple[str, Limit]:
    name, shown = field.name, f"{title} {_text(field, value)}"
    if field.full_name in TEXT_RULES:
        key, limit = "text", Limit(Order.RANK, ((TEXT_RULES.index(field.full_name) + 1) * value, 0), title, path)
    elif field.is_repeated:
        order = Order.ONE_OF if name == "in" else Order.NONE_OF
        key, limit = name, Limit(order, frozenset(map(_plain, value)), shown, path)
    elif name in UPPER_BOUNDS | LOWER_BOUNDS | LEAST_SIZES:
        key = _BOUND_KEYS.get(name, name)
        limit = Limit(_order_of_bound(rules, name), _strictness(field, value), shown, path)
    elif name in EXACT_VALUES:
        key, limit = name, Limit(Order.EXACT, _plain(value), shown, path)
    elif name in _RANKS:
        key, limit = name, Limit(Order.RANK, (_RANKS[name][value], 0), shown, path)
    elif field.type == FieldDescriptor.TYPE_BOOL:
        key, limit = field.full_name, Limit(Order.RANK, (int(value), 0), title, path)
    else:
        key, limit = field.full_name, Limit(Order.OPAQUE, _plain(value), shown, path)
    return key, limit


def _order_of_bound(rules: Message, name: str) -> Order:
    """Return OPAQUE for the two bounds of an excluded range, which have their upper bound below the lower one."""
    bounds = [
        rules.WhichOneof(each) if each in rules.DESCRIPTOR.oneofs_by_name else None
        for each in ("less_than", "greater_than")
    ]
    if name not in bounds or None in bounds or not {"lt", "lte"} & set(bounds) or not {"gt", "gte"} & set(bounds):
        return Order.RANK if name in LEAST_SIZES else Order.BOUND
    upper, lower = (_plain(getattr(rules, bound)) for bound in bounds if bound is not None)
    return Order.OPAQUE if upper < lower else Order.BOUND


def _strictness(field: FieldDescriptor, value: FieldValue) -> tuple[float, int]:
    """Return a pair that is greater for the stricter of two bounds."""
    number, is_exclusive = _plain(value), field.name in EXCLUSIVE_BOUNDS
    is_upper = field.name in UPPER_BOUNDS
    if isinstance(value, int) and is_exclusive:
        number, is_exclusive = number - 1 if is_upper else number + 1, False
    return (-number if is_upper else number), int(is_exclusive)


def _plain(value: FieldValue) -> FieldValue:
    """Return a value that can be hashed and ordered; times become nanoseconds."""
    if isinstance(value, Duration | Timestamp):
        return value.seconds * 10**9 + value.nanos
    if isinstance(value, Message):
        return _json(value)
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def _json(message: Message) -> str:
    try:
        return json_format.MessageToJson(message, indent=None)
    except ValueError:  # such as a duration out of range
        return text_format.MessageToString(message, as_one_line=True)


def _text(field: FieldDescriptor, value: FieldValue) -> str:
    if field.is_repeated:
        return f"[{', '.join(_text_of_one(field, each) for each in value)}]"
    return _text_of_one(field, value)


def _text_of_one(field: FieldDescriptor, value: FieldValue) -> str:
    if isinstance(value, Message):
        return _json(value).strip('"')
    if field.enum_type is not None and value in field.enum_type.values_by_number:
        return field.enum_type.values_by_number[value].name
    return f'"{value}"' if isinstance(value, str) else str(value)
