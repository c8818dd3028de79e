"""Each rule of protovalidate, declared on a field of its own: the fast path accepts no value that breaks the rule."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import protovalidate
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from buf.validate import validate_pb2
from contracts.plain.messages import PLAIN_CHECKS
from solo60.common.v1 import text_pb2
from tests.contracts.plain.declared_types import ENTRY, PAIRS, with_field
from tests.contracts.plain.message_types import is_accepted
from tests.contracts.plain.mutation import TEXTS, change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

KINDS = [field.name for field in validate_pb2.FieldRules.DESCRIPTOR.oneofs_by_name["type"].fields]
EXTENSIONS = [text_pb2.line, text_pb2.name, text_pb2.multi_line, text_pb2.mail_address]
INTEGERS = ["int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64"]
# All other rules must be left to protovalidate.
KNOWN = {
    *(f"{kind}.{rule}" for kind in INTEGERS for rule in ("gt", "gte", "lt", "lte", "not_in")),
    *(f"string.{rule}" for rule in ("const", "min_len", "max_len", "pattern", "ip", "uuid")),
    *(f"string.{extension.name}" for extension in EXTENSIONS),
    *(f"bytes.{rule}" for rule in ("min_len", "max_len")),
    *(f"enum.{rule}" for rule in ("defined_only", "not_in")),
    "bool.const",
    *(f"repeated.{rule}" for rule in ("min_items", "max_items", "unique", "items")),
    *(f"map.{rule}" for rule in ("min_pairs", "max_pairs", "keys", "values")),
}
ITEM_RULES = validate_pb2.FieldRules(string=validate_pb2.StringRules(min_len=1, max_len=3))
VARIANTS = [("", False), ("required: true", False), ("ignore: IGNORE_IF_ZERO_VALUE", False), ("", True),
            ("required: true", True), ("ignore: IGNORE_IF_ZERO_VALUE", True)]  # fmt: skip


def rules_of(kind: str) -> list[FieldDescriptor]:
    """Return the descriptors of all rules of a kind, with our own."""
    rules = list(type(getattr(validate_pb2.FieldRules(), kind)).DESCRIPTOR.fields)
    return [*rules, *EXTENSIONS] if kind == "string" else rules


def declaration_of(kind: str) -> str:
    """Return the declaration of a field that has rules of a kind."""
    if kind == "map":
        return PAIRS
    if kind == "repeated":
        return "type: TYPE_STRING label: LABEL_REPEATED"
    if kind == "enum":
        return 'type: TYPE_ENUM type_name: ".solo60.mesh.v1.Criticality" label: LABEL_OPTIONAL'
    if kind in ("any", "duration", "field_mask", "timestamp"):
        name = "".join(word.title() for word in kind.split("_"))
        return f'type: TYPE_MESSAGE type_name: ".google.protobuf.{name}" label: LABEL_OPTIONAL'
    return f"type: TYPE_{kind.upper()} label: LABEL_OPTIONAL"


def arguments_of(rule: FieldDescriptor) -> Iterator[Any]:
    """Yield arguments for a rule."""
    if rule.message_type is not None and rule.message_type.full_name == "buf.validate.FieldRules":
        yield ITEM_RULES
    elif rule.message_type is not None:
        yield GetMessageClass(rule.message_type)()
    elif rule.type == rule.TYPE_STRING:
        yield from ("^[a-z]{1,3}$", "a")
    elif rule.type == rule.TYPE_BYTES:
        yield b"a"
    elif rule.type == rule.TYPE_BOOL:
        yield from (True, False)
    else:
        yield from (1, 2)


def with_rule(kind: str, rule: FieldDescriptor, argument: Any) -> str:
    """Return the rules of a field with one rule, in text format."""
    rules = validate_pb2.FieldRules()
    target: Any = getattr(rules, kind)
    target.SetInParent()
    if rule.is_extension:
        target.Extensions[rule] = argument
    elif rule.is_repeated:
        getattr(target, rule.name).extend([argument])
    elif rule.message_type is not None:
        getattr(target, rule.name).CopyFrom(argument)
    else:
        setattr(target, rule.name, argument)
    return text_format.MessageToString(rules)


def types_with(kind: str, rule: FieldDescriptor, rng: Random) -> Iterator[Any]:
    """Yield types with one rule: singular and optional fields, required, ignored or neither."""
    for argument in arguments_of(rule):
        for more, is_optional in rng.sample(VARIANTS, 3):
            is_singular = kind not in ("repeated", "map")
            yield with_field(
                declaration_of(kind),
                f"{with_rule(kind, rule, argument)} {more}",
                ENTRY if kind == "map" else "",
                is_optional=is_optional and is_singular,
            )


def messages_of(message_type: Any, rng: Random) -> Iterator[Message]:
    """Yield messages with diverse values of the field `x`."""
    yield message_type()
    if message_type.DESCRIPTOR.fields_by_name["x"].type == FieldDescriptor.TYPE_STRING:
        values = (*TEXTS, "ab", "abc", "abcd")
        is_list = message_type.DESCRIPTOR.fields_by_name["x"].is_repeated
        yield from (message_type(x=[text, text] if is_list else text) for text in values)
    message = message_type()
    for _ in range(25):
        change(message, rng)
        yield message


def is_valid(message: Message) -> bool:
    """Return whether protovalidate accepts a message; False if a rule does not compile."""
    try:
        return is_accepted(message)
    except protovalidate.CompilationError:
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_only_known_rules_are_decided(kind: str) -> None:
    """The fast path accepts no value that breaks a rule, and it knows only the listed rules."""
    rng, decided = Random(kind), set()  # noqa: S311 - not a secret
    for rule in rules_of(kind):
        for message_type in types_with(kind, rule, rng):
            for message in messages_of(message_type, rng):
                if PLAIN_CHECKS[message_type](message):
                    assert is_valid(message), (rule.name, message)
                    decided |= {f"{kind}.{rule.name}"} if message.ListFields() else set()

    assert decided == {rule for rule in KNOWN if rule.startswith(f"{kind}.")}
