"""Changes of protovalidate rules: of fields, messages, oneofs and predefined rules."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, cast

from buf.validate import validate_pb2
from contracts.diff.change import change
from contracts.diff.limits import holds_rules, unknown_rules
from contracts.diff.rules import RuleDifference, Verdict, rule_differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

    from contracts.diff.change import Change
    from contracts.diff.versions import Versions
    from contracts.image import Image

_FIELD = (validate_pb2.FIELD_FIELD_NUMBER, "field")
_MESSAGE = (validate_pb2.MESSAGE_FIELD_NUMBER, "message")
_PREDEFINED = (validate_pb2.PREDEFINED_FIELD_NUMBER, "predefined")


def field_rule_changes(versions: Versions, old: FieldDescriptor, new: FieldDescriptor) -> Iterator[Change]:
    """Yield the changes of the rules of one field."""
    before, now = (each.GetOptions().Extensions[validate_pb2.field] for each in (old, new))
    for found in rule_differences(before, now):
        place = versions.place_of(new, _FIELD, *found.path)
        for id_, callers in _effects(versions, containing_message(old), found.verdict):
            yield change(_page_id(id_, new, found), new.full_name, found.text, place, callers)


def message_rule_changes(versions: Versions, old: Descriptor, new: Descriptor) -> Iterator[Change]:
    """Yield the changes of the rules of one message and of its oneofs."""
    before, now = (each.GetOptions().Extensions[validate_pb2.message] for each in (old, new))
    for found in rule_differences(before, now):
        place = versions.place_of(new, _MESSAGE, *found.path)
        for id_, callers in _effects(versions, old, found.verdict):
            yield change(id_, new.full_name, found.text, place, callers)
    for name in sorted({*old.oneofs_by_name, *new.oneofs_by_name}):
        for found in rule_differences(_oneof_rules(old, name), _oneof_rules(new, name)):
            for id_, callers in _effects(versions, old, found.verdict):
                yield change(id_, f"{new.full_name}.{name}", found.text, versions.place_of(new), callers)


def predefined_rule_changes(versions: Versions) -> Iterator[Change]:
    """Yield the changes of predefined rules, which are extensions of rules such as StringRules."""
    new_rules = _predefined(versions.after)
    for name, old in _predefined(versions.before).items():
        new = new_rules.get(name)
        before = old.GetOptions().Extensions[validate_pb2.predefined]
        if new is None or before == new.GetOptions().Extensions[validate_pb2.predefined]:
            continue
        users = _messages_with_rule(versions.before, old)
        for found in rule_differences(before, new.GetOptions().Extensions[validate_pb2.predefined]):
            place = versions.place_of(new, _PREDEFINED, *found.path)
            hit: dict[str, set[str]] = defaultdict(set)
            for message in users:
                for id_, callers in _effects(versions, message, found.verdict):
                    hit[id_] |= callers
            for id_, callers in hit.items():
                yield change(id_, name, found.text, place, callers)


def _effects(versions: Versions, message: Descriptor, verdict: Verdict) -> Iterator[tuple[str, set[str]]]:
    """Yield the ids of a changed rule of `message`, for its senders and for its readers, with those that it hits."""
    uses, usage = versions.usage.uses_of(message.full_name), versions.usage
    if verdict is Verdict.CHANGED:
        yield "RULE_CHANGED", usage.users_of(message.full_name)
        return
    if uses.is_sent:
        yield f"REQUEST_RULE_{verdict}", usage.senders_of(message.full_name)
    if uses.is_read:
        yield f"RESPONSE_RULE_{verdict}", usage.readers_of(message.full_name)


def _page_id(id_: str, field: FieldDescriptor, found: RuleDifference) -> str:
    """Return the id for page limits if a tightened rule limits the entries of a page."""
    if found.verdict is not Verdict.TIGHTENED:
        return id_
    limits_size = field.name == "page_size" and found.key.endswith(".<") and id_.startswith("REQUEST")
    is_list = "next_page_token" in containing_message(field).fields_by_name and id_.startswith("RESPONSE")
    return "PAGE_LIMIT_LOWERED" if limits_size or (is_list and found.key == "repeated.max_items") else id_


def containing_message(field: FieldDescriptor) -> Descriptor:
    """Return the message of a field, or the extended message."""
    return cast("Descriptor", field.containing_type)


def _oneof_rules(message: Descriptor, name: str) -> validate_pb2.OneofRules:
    oneof = message.oneofs_by_name.get(name)
    return validate_pb2.OneofRules() if oneof is None else oneof.GetOptions().Extensions[validate_pb2.oneof]


def _predefined(image: Image) -> dict[str, FieldDescriptor]:
    extensions = [each for file in image.files for each in file.extensions_by_name.values()]
    extensions += [each for message in image.messages() for each in message.extensions]
    return {each.full_name: each for each in extensions if each.GetOptions().HasExtension(validate_pb2.predefined)}


def _messages_with_rule(image: Image, rule: FieldDescriptor) -> list[Descriptor]:
    return [
        message
        for message in image.messages()
        if any(_sets(field.GetOptions().Extensions[validate_pb2.field], rule) for field in message.fields)
    ]


def _sets(rules: Message, rule: FieldDescriptor) -> bool:
    """Return whether rules set the predefined rule `rule`, at any depth."""
    numbers = {field.number for field, _ in rules.ListFields()} | unknown_rules(rules).keys()
    if rules.DESCRIPTOR.full_name == containing_message(rule).full_name and rule.number in numbers:
        return True
    return any(_sets(value, rule) for field, value in rules.ListFields() if holds_rules(field))
