"""Checks of texts: each string field limits its characters, and a text of one line has no control character."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from buf.validate import validate_pb2
from contracts.checks.patterns import admitted_control, lists_all
from contracts.texts import string_rules_of
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
        if not any(rules.Extensions[rule] for rule in TEXT_RULES) and rules.WhichOneof("well_known") is None:
            found += admitted_control(rules.pattern)
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
    if field.type == field.TYPE_STRING:
        yield field, "", string_rules_of(field)
    elif entry is not None and entry.GetOptions().map_entry:
        rules = field.GetOptions().Extensions[validate_pb2.field].map
        for side, sided in (("key", rules.keys), ("value", rules.values)):
            if entry.fields_by_name[side].type == field.TYPE_STRING:
                yield field, f"({side}s) ", sided.string


def _is_closed(rules: validate_pb2.StringRules) -> bool:
    is_listed = rules.HasField("const") or len(getattr(rules, "in")) > 0
    is_format = rules.WhichOneof("well_known") is not None
    return is_listed or is_format or any(rules.Extensions[rule] for rule in TEXT_RULES) or lists_all(rules.pattern)
