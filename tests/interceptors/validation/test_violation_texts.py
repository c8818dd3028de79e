"""Texts of violations: they repeat no value of a request, for every rule that our contracts use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import protovalidate
import pytest

from buf.validate import validate_pb2
from contracts.errors import InvalidRequest
from contracts.method import find_method
from contracts.request_violations import MAX_VIOLATIONS, unstorable_texts
from contracts.status import status_of_error
from contracts.violations import violations_of
from interceptors.chain.call import Call
from interceptors.validation.interceptor import ServerValidation
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.user.v1.user_pb2 import BatchGetUsersRequest
from tests.contracts.test_redaction import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from tests.support.echo_server import EchoServer

CANARY = "canary7391"
NUMBER = 1_739_173_917
# Each is longer than any rule allows.
LONG_TEXT = CANARY * 500
LONG_BYTES = CANARY.encode() * 110_000
LONG_LIST = 200
# Number of ids that gives more violations than metadata can hold.
VERY_MANY = 2_000
# Each rule for texts, numbers or lengths is broken by one of these.
TEXTS = (CANARY, CANARY + "\x00", LONG_TEXT, "")
NUMBERS = (NUMBER, -NUMBER, 0)


def planted_messages(message_type: type[Message]) -> Iterator[Message]:
    """Yield messages of a type, each with one field set to a planted value, and one with its times in reverse order."""
    yield message_type()
    yield _with_times_in_reverse(message_type)
    field: Any
    for field in message_type.DESCRIPTOR.fields:
        for value in _values_of(field):
            message: Any = message_type()
            _put(message, field, value)
            yield message


def _with_times_in_reverse(message_type: type[Message]) -> Message:
    message: Any = message_type()
    field: Any
    for number, field in enumerate(message_type.DESCRIPTOR.fields):
        kind = field.message_type.full_name if field.message_type is not None else ""
        if kind == "google.protobuf.Timestamp" and not field.is_repeated:
            getattr(message, field.name).seconds = NUMBER - number
    return cast("Message", message)


def _values_of(field: Any) -> Iterator[Any]:
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if is_map:
        yield {CANARY: LONG_TEXT, CANARY + " ": CANARY}
        yield {f"{CANARY}_{number}": CANARY for number in range(LONG_LIST)}
    elif field.is_repeated:
        for one in _single_values_of(field):
            yield [one]
            yield [one, one]
            yield [one] * LONG_LIST
    else:
        yield from _single_values_of(field)


def _single_values_of(field: Any) -> Iterator[Any]:
    if field.message_type is not None:
        yield from _messages_of(field.message_type)
    elif field.enum_type is not None:
        yield from (0, NUMBER)
    elif field.type == field.TYPE_STRING:
        yield from TEXTS
    elif field.type == field.TYPE_BYTES:
        yield from (LONG_BYTES, b"")
    elif field.type == field.TYPE_BOOL:
        yield from (True, False)
    else:
        yield from NUMBERS


def _messages_of(descriptor: Any) -> Iterator[Message]:
    """Yield messages with planted values, for rules that compare two fields and for field masks."""
    message_type = descriptor._concrete_class
    if descriptor.full_name == "google.protobuf.FieldMask":
        yield from (message_type(paths=paths) for paths in ([CANARY], [f"{CANARY}.{CANARY}"], ["email"], ["name"], []))
    elif descriptor.full_name == "solo60.common.v1.Period":
        for start_s, end_s in ((NUMBER, NUMBER - 1), (NUMBER, NUMBER + 7), (NUMBER, NUMBER + 10_000_000)):
            yield message_type(start_time={"seconds": start_s}, end_time={"seconds": end_s})
    elif descriptor.full_name == "solo60.gym.v1.OpeningHours":
        yield message_type(opens_minute=739, closes_minute=731)
    elif descriptor.full_name == "solo60.common.v1.Money":
        yield from (message_type(minor_units=-NUMBER, currency_code=code) for code in ("GBP", CANARY))
    else:
        yield message_type()


def _put(message: Any, field: Any, value: Any) -> None:
    if isinstance(value, dict):
        getattr(message, field.name).update(value)
    elif isinstance(value, list):
        getattr(message, field.name).extend(value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def rule_ids(message: Message) -> set[str]:
    """Return the ids of the rules that `message` breaks."""
    return {violation.proto.rule_id for violation in protovalidate.collect_violations(message)}


def rules_in_use() -> set[str]:
    """Return the ids of all rules that our contracts use, as in violations."""
    ids: set[str] = set()
    for message_type in TYPES:
        descriptor: Any = message_type.DESCRIPTOR
        ids |= _ids_of(descriptor.GetOptions().Extensions[validate_pb2.message])
        for field in descriptor.fields:
            ids |= _ids_of(field.GetOptions().Extensions[validate_pb2.field])
    return ids


def _ids_of(rules: Any, prefix: str = "") -> set[str]:
    ids: set[str] = set()
    for field, value in rules.ListFields():
        if field.name == "cel":
            ids |= {rule.id for rule in value}
        elif field.message_type is not None and field.message_type.full_name.startswith("buf.validate."):
            inner = "" if field.name in {"items", "keys", "values"} else f"{field.name}."
            ids |= _ids_of(value, inner)
        elif field.name != "ignore":
            ids.add(prefix + field.name)
    return ids


def broken_rules() -> set[str]:
    """Return the ids of all rules that the planted values break."""
    return {
        rule_id for message_type in TYPES for message in planted_messages(message_type) for rule_id in rule_ids(message)
    }


def test_every_rule_in_use_is_broken_by_a_planted_value() -> None:
    """The planted values break every rule that our contracts use, or the next test would prove nothing for it.

    Two rules for one number have one id, such as int32.gte_lte.
    """
    broken = broken_rules()
    both = {
        f"{kind}.{one}"
        for kind, ones in (each.split(".", 1) for each in broken if "." in each)
        for one in ones.split("_")
    }

    assert rules_in_use() - broken - both == set()


@pytest.mark.parametrize("message_type", TYPES, ids=lambda each: each.DESCRIPTOR.full_name)
def test_no_violation_repeats_a_sent_value(message_type: type[Message]) -> None:
    """No violation repeats a sent value in its description or path, or in the status sent to the caller."""
    for message in planted_messages(message_type):
        violations = [*violations_of(message), *unstorable_texts(message)]
        error = InvalidRequest("The request breaks the contract.", violations=violations)

        for text in (str(violations), str(status_of_error(error, "0" * 32))):
            assert CANARY not in text
            assert str(NUMBER)[:6] not in text


async def test_only_the_first_violations_are_sent(echo: EchoServer) -> None:
    """Of very many violations only the first are sent.

    An answer with too large metadata would reach the caller as another error.
    """
    request = BatchGetUsersRequest(user_ids=[f"{CANARY}{number}" for number in range(VERY_MANY)])
    method = find_method("/solo60.user.v1.UserService/BatchGetUsers")
    call = Call(method, cast("Any", None), {}, b"")

    with pytest.raises(InvalidRequest) as rejected:
        ServerValidation().request_hook(method)(call, request)

    async def hook() -> None:
        raise rejected.value

    echo.servicer.hook = hook
    with pytest.raises(InvalidRequest) as caught:
        await echo.stub().Echo(EchoRequest(text="hi"))
    assert len(caught.value.violations) == MAX_VIOLATIONS
    assert caught.value.message.endswith(f"user_ids[3] and {VERY_MANY + 1 - 5} more.")
    assert len(caught.value.message) <= 256
