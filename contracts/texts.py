"""Text rules: every string field of a contract must restrict its characters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from buf.validate import validate_pb2
from solo60.common.v1 import text_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

MISSING = (
    "does not limit its characters; add line, name, multi_line or mail_address of solo60/common/v1/text.proto, "
    "a format such as uuid, or a pattern of listed characters"
)
TEXT_RULES = (text_pb2.line, text_pb2.name, text_pb2.multi_line, text_pb2.mail_address)
_CLASS = re.compile(r"\[[^\]^][^\]]*\]")
_GROUP = re.compile(r"\([^()|]*(?:\|[^()|]*)*\)")
# Parts of a pattern, outside of listed character classes, that match any character or leave one alternative unanchored.
_OPEN = re.compile(r"(?<!\\)\.|\[|\\[sSWD]|\|")


def problems_of_texts(messages: Iterable[Descriptor]) -> Iterator[str]:
    """Yield one sentence for each string field that allows any character, including nested messages."""
    for message in messages:
        if not message.GetOptions().map_entry:
            for field in message.fields:
                yield from (f"{field.full_name}{place}: {problem}." for place, problem in _problems(field))
        yield from problems_of_texts(message.nested_types)


def string_rules_of(field: FieldDescriptor) -> validate_pb2.StringRules:
    """Return the rules of a string field, or of the items of a repeated string field."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return rules.repeated.items.string if field.is_repeated else rules.string


def _problems(field: FieldDescriptor) -> Iterator[tuple[str, str]]:
    for place, rules in _places(field):
        if rules.email:
            yield place, "do not use the rule email, use solo60.common.v1.mail_address"
        elif place and rules.Extensions[text_pb2.mail_address]:
            yield place, "mail_address is not supported in maps"
        elif not _is_closed(rules):
            yield place, MISSING


def _places(field: FieldDescriptor) -> Iterator[tuple[str, validate_pb2.StringRules]]:
    entry = field.message_type
    if field.type == field.TYPE_STRING:
        yield "", string_rules_of(field)
    elif entry is not None and entry.GetOptions().map_entry:
        rules = field.GetOptions().Extensions[validate_pb2.field].map
        for side, sided in (("key", rules.keys), ("value", rules.values)):
            if entry.fields_by_name[side].type == field.TYPE_STRING:
                yield f" ({side}s)", sided.string


def _is_closed(rules: validate_pb2.StringRules) -> bool:
    is_listed = rules.HasField("const") or len(getattr(rules, "in")) > 0
    is_format = rules.WhichOneof("well_known") is not None
    return is_listed or is_format or any(rules.Extensions[rule] for rule in TEXT_RULES) or _lists_all(rules.pattern)


def _lists_all(pattern: str) -> bool:
    """Return whether a pattern is anchored at both ends and lists every character that it matches."""
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return False
    rest = _CLASS.sub("x", pattern)
    while (shorter := _GROUP.sub("x", rest)) != rest:
        if _OPEN.search("".join(_GROUP.findall(rest)).replace("|", "")):
            return False
        rest = shorter
    return not _OPEN.search(rest)
