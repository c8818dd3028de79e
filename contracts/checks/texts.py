"""Checks of texts: each string field limits its characters, and a text of one line has no control character."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.protobuf.wrappers_pb2 import StringValue

from buf.validate import validate_pb2
from contracts.checks.patterns import admitted_control, lists_all
from solo60.common.v1 import text_pb2
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject

    Text = tuple[FieldDescriptor, str, validate_pb2.StringRules]

TEXT_RULES = (text_pb2.line, text_pb2.name, text_pb2.multi_line, text_pb2.mail_address)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def open_text(subject: Subject) -> Iterator[Problem]:
    """Yield each string field, or side of a map, that allows any character."""
    for field, side, rules in _texts(subject):
        if not rules.email and not _is_closed(rules):
            message = "does not limit its characters; add line, name, multi_line or mail_address of "
            message += "solo60/common/v1/text.proto, a format such as uuid, or a pattern of listed characters"
            yield subject.problem(field, side + message)


def email_format(subject: Subject) -> Iterator[Problem]:
    """Yield each use of protovalidate's format `email`, which accepts addresses that cannot receive mail."""
    for field, side, rules in _texts(subject):
        if rules.email:
            yield subject.problem(field, f"{side}do not use the rule email, use solo60.common.v1.mail_address")


def address_in_map(subject: Subject) -> Iterator[Problem]:
    """Yield each `mail_address` in a map, because servers do not check it there."""
    for field, side, rules in _texts(subject):
        if side and rules.Extensions[text_pb2.mail_address]:
            yield subject.problem(field, f"{side}mail_address is not supported in maps; use a repeated message")


def control_character(subject: Subject) -> Iterator[Problem]:
    """Yield each rule of a text of one line that admits a control character, such as a line break."""
    for field, side, rules in _texts(subject):
        if rules.Extensions[text_pb2.multi_line]:
            continue
        values = [*getattr(rules, "in"), *([rules.const] if rules.HasField("const") else [])]
        found = [char for value in values for char in _CONTROL.findall(value)]
        # Another rule of the field may exclude the character that a pattern admits.
        if not any(rules.Extensions[rule] for rule in TEXT_RULES):
            found += _controls_of_header(rules) if _is_format(rules) else admitted_control(rules.pattern)
        if found:
            text = f"admits the control character U+{ord(found[0]):04X}; exclude it, or use multi_line"
            yield subject.problem(field, side + text)


def _texts(subject: Subject) -> Iterator[Text]:
    """Yield each string field with its rules. A field of a map is yielded once for each side, such as "(keys) ".

    Contracts without protovalidate have none. The messages of policy.proto are options and never sent in a call.
    """
    if not subject.image.imports(validate_pb2.DESCRIPTOR.name):
        return
    for message in subject.image.messages():
        if message.file.name != policy_pb2.DESCRIPTOR.name:
            for field in message.fields:
                yield from _sides(field)


def _sides(field: FieldDescriptor) -> Iterator[Text]:
    entry = field.message_type
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if _is_text(field):
        yield field, "", _in_force(rules, rules.repeated.items if field.is_repeated else rules)
    elif entry is not None and entry.GetOptions().map_entry:
        for side, sided in (("key", rules.map.keys), ("value", rules.map.values)):
            if _is_text(entry.fields_by_name[side]):
                yield field, f"({side}s) ", _in_force(rules, sided)


def _is_text(field: FieldDescriptor) -> bool:
    return field.type == field.TYPE_STRING or (
        field.message_type is not None and field.message_type.full_name == StringValue.DESCRIPTOR.full_name
    )


def _in_force(rules: validate_pb2.FieldRules, inner: validate_pb2.FieldRules) -> validate_pb2.StringRules:
    """Return the rules of a text, or none if the field or its items ignore them."""
    ignored = validate_pb2.IGNORE_ALWAYS in (rules.ignore, inner.ignore)
    return validate_pb2.StringRules() if ignored else inner.string


def _is_format(rules: validate_pb2.StringRules) -> bool:
    name = rules.WhichOneof("well_known")
    return name is not None and bool(getattr(rules, name))


def _controls_of_header(rules: validate_pb2.StringRules) -> list[str]:
    """Return a control character that protovalidate's formats of HTTP headers admit."""
    if rules.well_known_regex and rules.HasField("strict") and not rules.strict:
        return ["\x01"]
    return ["\t"] if rules.well_known_regex == validate_pb2.KNOWN_REGEX_HTTP_HEADER_VALUE else []


def _is_closed(rules: validate_pb2.StringRules) -> bool:
    is_listed = rules.HasField("const") or len(getattr(rules, "in")) > 0
    return (
        is_listed or _is_format(rules) or any(rules.Extensions[rule] for rule in TEXT_RULES) or lists_all(rules.pattern)
    )
