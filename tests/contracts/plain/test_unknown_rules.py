from __future__ import annotations

from typing import TYPE_CHECKING, Any

import protovalidate
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from contracts.plain.messages import PLAIN_CHECKS
from contracts.plain.predicates import doubtful
from contracts.request_violations import check_request
from contracts.violations import violations_of
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.mesh.v1.policy_pb2 import Criticality
from tests.contracts.plain.declared_types import ENTRY, PAIRS, add, declare, file_with, with_field
from tests.contracts.test_validators import request_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.message import Message

TEXT = "type: TYPE_STRING label: LABEL_OPTIONAL"
TEXTS = "type: TYPE_STRING label: LABEL_REPEATED"
MONEY = 'type: TYPE_MESSAGE type_name: ".solo60.common.v1.Money" label: LABEL_OPTIONAL'
PERIOD = 'type: TYPE_MESSAGE type_name: ".solo60.common.v1.Period" label: LABEL_OPTIONAL'
TIME = 'type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL'
ADDRESSES = "repeated { items { ignore: IGNORE_IF_ZERO_VALUE string { [solo60.common.v1.mail_address]: true } } }"
# Field 900 with the value 1, as a later version of protovalidate might add it.
LATER_RULE = b"\xa0\x38\x01"
# Number of messages inside of each other that protobuf parses.
DEEPEST = 99


def is_plain(message: Message) -> bool:
    """Return whether the fast path accepts a message."""
    return PLAIN_CHECKS[type(message)](message)


def declared_file() -> FileDescriptorProto:
    """Return a file with one message type that has a text, a list, a required oneof and an amount, with rules."""
    return file_with(f"""message_type {{ name: "Later"
        oneof_decl {{ name: "choice" options {{ [buf.validate.oneof] {{ required: true }} }} }}
        field {{ name: "x" number: 1 {TEXT} options {{ [buf.validate.field] {{ string {{ min_len: 1 }} }} }} }}
        field {{ name: "xs" number: 2 {TEXTS}
                 options {{ [buf.validate.field] {{ repeated {{ items {{ string {{ max_len: 2 }} }} }} }} }} }}
        field {{ name: "y" number: 3 {TEXT} oneof_index: 0 }}
        field {{ name: "z" number: 4 {MONEY}
                 options {{ [buf.validate.field] {{ cel {{ id: "z" expression: "this.minor_units > 0" }} }} }} }} }}""")


def field_rules(file: FileDescriptorProto, index: int) -> Any:
    """Return the rules of a field of the first message."""
    return file.message_type[0].field[index].options.Extensions[validate_pb2.field]


LATER: dict[str, Callable[[FileDescriptorProto], Any]] = {
    "no rule": lambda _file: validate_pb2.FieldRules(),
    "field": lambda file: field_rules(file, 0),
    "string": lambda file: field_rules(file, 0).string,
    "field without rules": lambda file: field_rules(file, 2),
    "repeated": lambda file: field_rules(file, 1).repeated,
    "items": lambda file: field_rules(file, 1).repeated.items,
    "expression": lambda file: field_rules(file, 3).cel[0],
    "items.string": lambda file: field_rules(file, 1).repeated.items.string,
    "message": lambda file: file.message_type[0].options.Extensions[validate_pb2.message],
    "oneof": lambda file: file.message_type[0].oneof_decl[0].options.Extensions[validate_pb2.oneof],
}


@pytest.mark.parametrize("place", LATER)
def test_a_rule_of_a_later_version_is_doubtful(place: str) -> None:
    """A rule that the generated code of protovalidate does not know makes each message that it concerns doubtful."""
    file = declared_file()
    LATER[place](file).MergeFromString(LATER_RULE)

    later: Any = add(file)

    message = later(x="a", xs=["b"], y="c", z=Money(minor_units=1, currency_code="GBP"))
    assert is_plain(message) == (place == "no rule")


DOUBTFUL_FIELDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "expression": (TEXT, 'cel { id: "x" expression: "true" }', {"x": "a"}),
    "short expression": (TEXT, 'cel_expression: "true"', {"x": "a"}),
    "expression of a list": (TEXTS, 'cel { id: "x" expression: "true" } repeated { max_items: 9 }', {"x": ["a"]}),
    "expression of a map": (PAIRS, 'cel { id: "x" expression: "true" } map { max_pairs: 9 }', {"x": {"a": "b"}}),
    "expression of items": (TEXTS, 'repeated { items { cel { id: "x" expression: "true" } } }', {"x": ["a"]}),
    "unknown expression of a message": (PERIOD, 'cel { id: "x" expression: "true" }', {"x": Period(
        start_time=Timestamp(seconds=1), end_time=Timestamp(seconds=2))}),
    "required items": (TEXTS, "repeated { items { required: true } }", {"x": ["a"]}),
    "items that may be empty": (TEXTS, "repeated { items { ignore: IGNORE_IF_ZERO_VALUE } }", {"x": ["a"]}),
    "address that may be empty": (TEXTS, ADDRESSES, {"x": [""]}),
    "never checked": (TEXT, "ignore: IGNORE_ALWAYS", {"x": "a"}),
    "time that is never checked": (TIME, "ignore: IGNORE_ALWAYS", {"x": Timestamp(nanos=-1)}),
    "time in the past": (TIME, "timestamp { lt_now: true }", {"x": Timestamp(seconds=1)}),
    "constant with a control character": (TEXT, 'string { const: "a\\000" }', {"x": "a\0"}),
    "unique numbers with a fraction": ("type: TYPE_DOUBLE label: LABEL_REPEATED", "repeated { unique: true }",
                                       {"x": [1.0]}),
    "wrapper": ('type: TYPE_MESSAGE type_name: ".google.protobuf.StringValue" label: LABEL_OPTIONAL',
                "string { min_len: 1 }", {"x": {"value": "a"}}),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBTFUL_FIELDS)
def test_an_unknown_rule_is_doubtful_if_the_field_is_set(name: str) -> None:
    """A message is left to protovalidate if it sets a field that has an unknown rule."""
    declaration, rules, values = DOUBTFUL_FIELDS[name]

    assert not is_plain(with_field(declaration, rules, ENTRY if declaration == PAIRS else "")(**values))


def test_an_unknown_rule_does_not_concern_a_field_without_a_value() -> None:
    """An unset field with presence and an ignored empty field leave a message plain; an empty text is doubtful."""
    rules = 'cel { id: "x" expression: "this.size() > 3" }'

    assert is_plain(with_field(TEXT, rules, is_optional=True)())
    assert is_plain(with_field(TEXT, f"ignore: IGNORE_IF_ZERO_VALUE {rules}")())
    assert is_plain(with_field(TEXT, "ignore: IGNORE_ALWAYS")())
    assert PLAIN_CHECKS[with_field(TEXT, rules)] is doubtful
    assert PLAIN_CHECKS[with_field(PERIOD, "required: true " + rules.replace("this.size() > 3", "true"))] is doubtful


WHOLE_RULES = {
    "expression": 'cel { id: "x" expression: "true" }',
    "short expression": 'cel_expression: "true"',
    "one of": 'oneof { fields: "x" required: true }',
}


@pytest.mark.parametrize("name", WHOLE_RULES)
def test_an_unknown_rule_of_a_message_is_doubtful(name: str) -> None:
    """If a type has an unknown rule for whole messages, neither its messages nor messages around them are plain."""
    rule = f"options {{ [buf.validate.message] {{ {WHOLE_RULES[name]} }} }}"
    inner = with_field(TEXT, "", rule)
    outer: Any = declare(f"""message_type {{ name: "Outer" field {{ name: "x" number: 1 type: TYPE_MESSAGE
        type_name: ".PACKAGE.Inner" label: LABEL_OPTIONAL }} }}
        message_type {{ name: "Inner" field {{ name: "x" number: 1 {TEXT} }} {rule} }}""")

    assert PLAIN_CHECKS[inner] is doubtful
    assert is_plain(outer())
    assert not is_plain(outer(x={"x": "a"}))


# By the message that a predefined rule extends: the field with the rule, how the rule is set, and a value.
EXTENDED: dict[str, tuple[str, str, Any]] = {
    "StringRules": (TEXT, "string {{ {} }}", "a"),
    "BytesRules": ("type: TYPE_BYTES label: LABEL_OPTIONAL", "bytes {{ {} }}", b"a"),
    "Int32Rules": ("type: TYPE_INT32 label: LABEL_OPTIONAL", "int32 {{ {} }}", 1),
    "BoolRules": ("type: TYPE_BOOL label: LABEL_OPTIONAL", "bool {{ {} }}", True),
    "EnumRules": (
        'type: TYPE_ENUM type_name: ".solo60.mesh.v1.Criticality" label: LABEL_OPTIONAL',
        "enum {{ {} }}",
        Criticality.CRITICALITY_NORMAL,
    ),
    "RepeatedRules": (TEXTS, "repeated {{ {} }}", ["a"]),
}


@pytest.mark.parametrize("extended", EXTENDED)
def test_a_new_predefined_rule_is_doubtful(extended: str) -> None:
    """A predefined rule that a contract adds is left to protovalidate."""
    declared = declare(
        f"""message_type {{ name: "Unused" }} extension {{ name: "loud" number: 60999 label: LABEL_OPTIONAL
            type: TYPE_BOOL extendee: ".buf.validate.{extended}"
            options {{ [buf.validate.predefined] {{ cel {{ id: "loud" expression: "!rule" }} }} }} }}""",
        syntax="proto2",
    )
    loud = declared.DESCRIPTOR.file.extensions_by_name["loud"].full_name
    declaration, rules, value = EXTENDED[extended]
    message = with_field(declaration, rules.format(f"[{loud}]: true"))(x=value)

    assert is_plain(with_field(declaration, rules.format(""))(x=value))
    assert not is_plain(message)
    assert len(violations_of(message)) == 1


INVALID_RULES = {
    "another type": "int32 { gt: 1 }",
    "pattern": 'string { pattern: "[a" }',
    "ignored pattern": 'ignore: IGNORE_IF_ZERO_VALUE string { pattern: "a{9000}" }',
    "expression": 'cel { id: "x" expression: "this.nothing(" }',
}


@pytest.mark.parametrize("is_optional", [False, True])
@pytest.mark.parametrize("name", INVALID_RULES)
def test_a_rule_that_does_not_compile_is_an_error(name: str, *, is_optional: bool) -> None:
    """A rule that does not compile raises an error for each message, also for an empty one."""
    invalid = with_field(TEXT, INVALID_RULES[name], is_optional=is_optional)

    for message in (invalid(), invalid(x="a")):
        with pytest.raises(protovalidate.CompilationError):
            check_request(message, message.SerializeToString())


def test_messages_outside_of_generated_code_are_doubtful() -> None:
    """A type of another descriptor pool is not stored, and all its messages go to protovalidate."""
    earlier: Any = request_type(3)

    assert is_plain(EchoRequest(text="a"))
    assert not is_plain(earlier(text="a"))
    assert earlier not in PLAIN_CHECKS


def test_messages_of_proto2_are_doubtful() -> None:
    """In proto2, messages have extensions and texts may be invalid UTF-8, so all are left to protovalidate."""
    message_type: Any = declare(
        f'message_type {{ name: "Old" field {{ name: "x" number: 1 {TEXT} }} }}', syntax="proto2"
    )

    assert PLAIN_CHECKS[message_type] is doubtful


def test_messages_in_messages_of_their_own_type_are_checked() -> None:
    """A recursive type is checked at each depth."""
    node: Any = declare(f"""message_type {{ name: "Node"
        field {{ name: "x" number: 1 {TEXT} options {{ [buf.validate.field] {{ string {{ max_len: 2 }} }} }} }}
        field {{ name: "next" number: 2 type: TYPE_MESSAGE type_name: ".PACKAGE.Node" label: LABEL_OPTIONAL }}
        field {{ name: "children" number: 3 type: TYPE_MESSAGE type_name: ".PACKAGE.Node"
                 label: LABEL_REPEATED }} }}""")

    for text, expected in (("ab", True), ("abc", False)):
        innermost = node(x="a", children=[node(), node(x=text)])
        assert is_plain(node(next=node(x="b", next=innermost))) is expected
        assert is_plain(node(children=[node(next=innermost)])) is expected


def test_deep_messages_are_checked() -> None:
    """A message as deep as the parser of protobuf allows is checked without an error."""
    node: Any = declare("""message_type { name: "Node"
        field { name: "next" number: 1 type: TYPE_MESSAGE type_name: ".PACKAGE.Node" label: LABEL_OPTIONAL }
        field { name: "xs" number: 2 type: TYPE_STRING label: LABEL_REPEATED } }""")
    message = node(xs=["\0"])
    for _ in range(DEEPEST):
        message = node(next=message)

    assert not is_plain(node.FromString(message.SerializeToString()))
