from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from contracts.diff import changes_between
from contracts.diff.limits import IRRELEVANT, holds_rules
from contracts.diff.rules import rule_differences
from contracts.image import Image
from solo60.mesh.v1 import policy_pb2
from tests.contracts.diff.shop import compiled

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

NESTED_POLICIES = ("retry", "hedge", "rate_limit", "deprecation")
NESTED_RULES = [field.name for field in validate_pb2.FieldRules.DESCRIPTOR.fields if holds_rules(field)]


def fields_below(message: Descriptor, names: list[str] | tuple[str, ...]) -> list[str]:
    """Return the dotted names of the fields of a message, and of the fields of its messages with these names."""
    return [
        path
        for field in message.fields
        for path in [
            field.name,
            *(f"{field.name}.{inner.name}" for inner in inner_fields(field) if field.name in names),
        ]
    ]


def inner_fields(field: FieldDescriptor) -> list[FieldDescriptor]:
    """Return the fields of a field's message."""
    return [] if field.message_type is None else list(field.message_type.fields)


def change_field(message: Message, path: str) -> None:
    """Give the field at a dotted path another value."""
    *parents, name = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
        message.SetInParent()
    field, value = message.DESCRIPTOR.fields_by_name[name], getattr(message, name)
    if field.is_repeated:
        value.append(other_value(field)) if field.message_type is None else fill(value.add())
    elif field.message_type is None:
        setattr(message, name, other_value(field, value))
    elif message.HasField(name) and not isinstance(value, Duration | Timestamp):
        message.ClearField(name)
    else:
        fill(value)


def other_value(field: Any, value: Any = None) -> Any:
    """Return a value of a field's type that differs from `value` and from the type's default."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return not value
        case FieldDescriptor.CPPTYPE_STRING:
            return b"x" if field.type == FieldDescriptor.TYPE_BYTES else f"{value or ''}x"
        case _:
            return (value or 0) + 1


def fill(message: Message) -> None:
    """Change a message to one that is not the default."""
    message.SetInParent()
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None and not field.is_repeated:
            setattr(message, field.name, other_value(field, getattr(message, field.name)))


def shop_with(policy: policy_pb2.MethodPolicy) -> Image:
    """Return the shop's contracts with another policy of StockService/GetItem."""
    files = FileDescriptorSet()
    files.CopyFrom(compiled())
    [file] = [file for file in files.file if file.name == "shop.proto"]
    [method] = [method for service in file.service for method in service.method if method.name == "GetItem"]
    method.options.Extensions[policy_pb2.policy].CopyFrom(policy)
    return Image(files)


@pytest.mark.parametrize("path", fields_below(policy_pb2.MethodPolicy.DESCRIPTOR, NESTED_POLICIES))
def test_each_field_of_a_policy_is_compared(path: str) -> None:
    """Another value of any field of a policy, also inside of `retry` and the like, is a change of the method."""
    [file] = [file for file in compiled().file if file.name == "shop.proto"]
    [method] = [method for service in file.service for method in service.method if method.name == "GetItem"]
    before, after = policy_pb2.MethodPolicy(), policy_pb2.MethodPolicy()
    before.CopyFrom(method.options.Extensions[policy_pb2.policy])
    after.CopyFrom(before)
    change_field(after, path)

    changes = changes_between(shop_with(before), shop_with(after))

    assert "shop.v1.StockService/GetItem" in {change.subject for change in changes}


def test_each_nested_message_of_a_policy_is_covered() -> None:
    """The test above looks into each message of a policy except times and lists."""
    fields = policy_pb2.MethodPolicy.DESCRIPTOR.fields
    messages = {field.name for field in fields if field.message_type is not None and not field.is_repeated}

    assert messages - {"deadline", "idle_timeout", "own_work"} == set(NESTED_POLICIES)


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in fields_below(validate_pb2.FieldRules.DESCRIPTOR, NESTED_RULES)
        if path not in NESTED_RULES and path.rpartition(".")[2] not in IRRELEVANT
    ],
)
def test_each_rule_of_a_field_is_compared(path: str) -> None:
    """Another value of any rule that protovalidate has for fields is a difference."""
    before = validate_pb2.FieldRules(required=True)
    after = validate_pb2.FieldRules(required=True)
    parent, _, name = path.rpartition(".")
    if parent:
        getattr(before, parent).SetInParent()
    if name == "strict":  # the default of this rule is true
        after.string.strict = False
    else:
        change_field(after, path)

    assert list(rule_differences(before, after))


@pytest.mark.parametrize(
    "rules",
    [validate_pb2.MessageRules, validate_pb2.OneofRules, validate_pb2.PredefinedRules],
    ids=lambda rules: rules.DESCRIPTOR.name,
)
def test_each_rule_of_a_message_is_compared(rules: type[Message]) -> None:
    """Another value of any rule for messages, oneofs and rules is a difference."""
    for field in rules.DESCRIPTOR.fields:
        after = rules()
        change_field(after, field.name)
        assert list(rule_differences(rules(), after)), field.name
