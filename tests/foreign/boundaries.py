"""Messages on and around the boundaries of every validation rule, generated from the contracts' descriptors."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from contracts.violations import violations_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from random import Random

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

# Texts that patterns, formats and conversions often treat differently, for every string field.
TEXTS = (
    "0123456789abcdef0123456789abcdef",
    *("a", "", "A", " ", "a b", " a", "a ", "0", "-1", "é", "e\u0301", "ß", "İ", "漢字"),
    *("\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u200b", "\u202e"),
    *("\x00", "a\x00", "a\n", "\na", "a\r\nb", "a\tb", "\x1b[31m", "\x7f", "\x85", "a\u2028b", "a\u2029b", "\u00a0"),
    *("\ufeff", "\ud7ff", "\uffff", "\U0010ffff", "%s", "'", '"', "\\", "../x", "http://evil.example", "a.b"),
    "0198c1a2-0000-7000-8000-00000000abcd",
    "0198C1A2-0000-7000-8000-00000000ABCD",
    "0198c1a200007000800000000000abcd",
    "{0198c1a2-0000-7000-8000-00000000abcd}",
    "00000000-0000-0000-0000-000000000000",
    "0198c1a2-0000-7000-8000-00000000abc",
    *("ada@example.org", "ada+x@example.org", "ada@localhost", "a..b@example.org", ".a@example.org", "a.@example.org"),
    *(
        "ada@bücher.example",
        "ada@xn--bcher-kva.example",
        "@example.org",
        "ada@",
        "ada@@example.org",
        "ada@example.org\n",
    ),
    *("ada@[127.0.0.1]", '"a b"@example.org', "ada@example..org", "ada@-example.org", "Ada <ada@example.org>"),
    *("ädä@example.org", "GBP", "gbp", "GBP\n", "GB", "GBPX", "UTC", "Europe/London", "Europe//London", "/UTC", "UTC/"),
    *(
        "Etc/GMT+1",
        "../UTC",
        "SESSION_BOOKED",
        "SPOT_AVAILABLE",
        "GUEST_INVITED",
        "GUEST_",
        "session_booked",
        "A1_",
        "AB",
    ),
    *(
        "A" * 64,
        "A" * 65,
        "member_name",
        "Member",
        "_x",
        "a" * 43,
        "a" * 64,
        "a" * 65,
        "tok_visa",
        "1.5",
        "127.0.0.1",
        "::1",
    ),
    *("a/b", "package.Service/Method", "2026-03", "2026-13", "2026-3"),
)
SECONDS = (0, 1, 899, 900, -900, -1, 1_795_824_000, 1_795_824_001, -62_135_596_800, 253_402_300_799, 253_402_299_900)
NANOS = (0, 1, 999_999, 1_000_000, 500_000_000, 999_000_000, 999_999_999)
# Maximum number of variants taken for a field of a message type.
MAX_INNER_MESSAGES = 40
_BOUNDS = ("const", "lt", "lte", "gt", "gte")
_LENGTHS = ("len", "min_len", "max_len", "len_bytes", "min_bytes", "max_bytes")
_LETTERS = ("x", "é", "😀")
_INTEGERS = {
    **dict.fromkeys(
        (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SFIXED32), (-(2**31), 2**31 - 1)
    ),
    **dict.fromkeys(
        (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_SINT64, FieldDescriptor.TYPE_SFIXED64), (-(2**63), 2**63 - 1)
    ),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_FIXED32), (0, 2**32 - 1)),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64), (0, 2**64 - 1)),
}


def messages_around(descriptor: Descriptor, random: Random, mixed: int) -> Iterator[Message]:
    """Yield an empty message, valid messages with one field varied, and `mixed` messages of random values."""
    yield GetMessageClass(descriptor)()
    yield from _variants(descriptor)
    for _ in range(mixed):
        message = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            _put(message, field, random.choice(_values_of(field)))
        yield message


@cache
def _variants(descriptor: Descriptor) -> tuple[Message, ...]:
    """Return a valid message, and copies of it with each other value of each field."""
    valid = _valid(descriptor)
    variants = [valid]
    for field in descriptor.fields:
        for value in _values_of(field):
            variant = GetMessageClass(descriptor)()
            variant.CopyFrom(valid)
            _put(variant, field, value)
            variants.append(variant)
    return (*variants, *_periods(valid))


def _valid(descriptor: Descriptor) -> Message:
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        for value in _values_of(field):
            _put(message, field, value)
            if value is not None and not _is_rejected(message, field):
                break
        else:
            message.ClearField(field.name)
    return message


def _is_rejected(message: Message, field: FieldDescriptor) -> bool:
    try:
        return any(re.match(rf"{field.name}\b", violation.field) for violation in violations_of(message))
    except protovalidate.EvaluationError:
        return True


def _periods(valid: Message) -> Iterator[Message]:
    """Yield messages with periods on and around the lengths that rules limit, if the type has a start and an end."""
    if not {"start_time", "end_time"} <= set(valid.DESCRIPTOR.fields_by_name):
        return
    for hours in (0, 12, 744):
        for start in (1_795_824_000, 1_795_824_900):
            for nanos in (-1, 0, 1, 900 * 10**9):
                variant: Any = type(valid)()
                variant.CopyFrom(valid)
                variant.start_time.FromSeconds(start)
                variant.end_time.FromNanoseconds((start + hours * 3600) * 10**9 + nanos)
                yield variant


@cache
def _values_of(field: FieldDescriptor) -> tuple[Any, ...]:
    """Return the values to try for a field, with None for an unset field.

    Values that rules are likely to accept come first.
    """
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if not field.is_repeated:
        return (*_singles(field, rules), None)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return (*_maps(field, rules.map), None)
    return (*_lists(field, rules.repeated), None)


def _lists(field: FieldDescriptor, rules: validate_pb2.RepeatedRules) -> Iterator[list[Any]]:
    singles = list(_singles(field, rules.items))
    yield from ([single] for single in singles)
    yield [singles[0]] * 2
    for size in _around(rules, ("min_items", "max_items")):
        yield [singles[number % len(singles)] for number in range(size)]
        if field.type == FieldDescriptor.TYPE_STRING:
            yield [f"0198c1a2-0000-7000-8000-{number:012}" for number in range(size)]


def _maps(field: FieldDescriptor, rules: validate_pb2.MapRules) -> Iterator[dict[Any, Any]]:
    assert field.message_type is not None
    key_field, value_field = field.message_type.fields
    keys, values = list(_singles(key_field, rules.keys)), list(_singles(value_field, rules.values))
    good = "key" if isinstance(keys[0], str) else keys[0]
    yield from ({good: value} for value in values)
    yield from ({key: values[0]} for key in keys)
    for size in _around(rules, ("min_pairs", "max_pairs")):
        yield {f"key_{number}": values[0] for number in range(size)}


def _singles(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Iterable[Any]:
    if field.message_type is not None:
        return _MESSAGES.get(field.message_type.full_name, _inner)(field, rules)
    if field.type == FieldDescriptor.TYPE_STRING:
        return (*_named(rules.string), *TEXTS, *_texts_around(rules.string))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return (b"x", b"", b"\x00", b"\xff", *(b"x" * length for length in _around(rules.bytes, _LENGTHS)))
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return (*reversed(known), max(known) + 1, -1)
    return _numbers(field, rules)


def _numbers(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> tuple[float, ...]:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return (True, False)
    if field.type not in _INTEGERS:
        return (1.0, 0.0, -1.0, float("inf"), float("nan"))
    minimum, maximum = _INTEGERS[field.type]
    of_kind = _numeric(rules)
    found = (*_named(of_kind), *_around(of_kind, _BOUNDS), 1, 0, -1, minimum, maximum)
    return tuple(number for number in found if minimum <= number <= maximum)


def _numeric(rules: validate_pb2.FieldRules) -> Any:
    return getattr(rules, rules.WhichOneof("type") or "int32")


def _named(rules: Any) -> Iterator[Any]:
    """Yield the values that the `const`, `in` and `not_in` rules list."""
    if rules.HasField("const"):
        yield rules.const
    yield from getattr(rules, "in")
    yield from rules.not_in


def _texts_around(rules: validate_pb2.StringRules) -> Iterator[str]:
    for length in _around(rules, _LENGTHS):
        yield from (letter * length for letter in _LETTERS)
        # A mail address of this length.
        yield "a@" + ".".join(["x" * 50] * (length // 51 + 1))[: max(length - 2, 0)]


def _around(rules: Any, names: Iterable[str]) -> Iterator[int]:
    """Yield each bound that the rules set, and its neighbours."""
    known = rules.DESCRIPTOR.fields_by_name
    for name in names:
        if name in known and rules.HasField(name):
            bound = getattr(rules, name)
            yield from (bound + step for step in (0, 1, -1) if bound + step >= 0 or name in _BOUNDS)


def _inner(field: FieldDescriptor, _rules: validate_pb2.FieldRules) -> tuple[Message, ...]:
    assert field.message_type is not None
    variants = _variants(field.message_type)
    # A sample suffices, because each type is also tested on its own.
    few = variants[:: len(variants) // MAX_INNER_MESSAGES + 1]
    return (*few, *_periods(variants[0]), GetMessageClass(field.message_type)())


def _timestamps(_field: FieldDescriptor, _rules: validate_pb2.FieldRules) -> tuple[Timestamp, ...]:
    moments = [(seconds, nanos) for seconds in SECONDS for nanos in NANOS[:2]] + [(900, nanos) for nanos in NANOS]
    return tuple(Timestamp(seconds=seconds, nanos=nanos) for seconds, nanos in moments)


def _durations(_field: FieldDescriptor, rules: validate_pb2.FieldRules) -> tuple[Duration, ...]:
    of_kind: Any = rules.duration
    bounds = [getattr(of_kind, name) for name in _BOUNDS if of_kind.HasField(name)]
    steps = [Duration(seconds=bound.seconds + step) for bound in bounds for step in (0, 1, -1)]
    return (*steps, Duration(seconds=1), Duration(), Duration(nanos=1), Duration(seconds=-1))


def _masks(_field: FieldDescriptor, rules: validate_pb2.FieldRules) -> tuple[FieldMask, ...]:
    known = list(getattr(rules.field_mask, "in"))
    lists = [known, [], ["nothing"], [""], [*known, "nothing"], known[:1] * 2, *([each] for each in known)]
    return tuple(FieldMask(paths=paths) for paths in (*lists, *([f"{each}.x"] for each in known)))


_MESSAGES: dict[str, Callable[[FieldDescriptor, validate_pb2.FieldRules], tuple[Message, ...]]] = {
    Timestamp.DESCRIPTOR.full_name: _timestamps,
    Duration.DESCRIPTOR.full_name: _durations,
    FieldMask.DESCRIPTOR.full_name: _masks,
}


def _put(message: Message, field: FieldDescriptor, value: Any) -> None:
    message.ClearField(field.name)
    if value is None:
        return
    target = getattr(message, field.name)
    if isinstance(value, dict):
        _fill_map(target, value)
    elif isinstance(value, list):
        target.extend(value)
    elif field.message_type is not None:
        target.CopyFrom(value)
        target.SetInParent()
    else:
        setattr(message, field.name, value)


def _fill_map(target: Any, value: dict[Any, Any]) -> None:
    for key, each in value.items():
        target[key] = each
