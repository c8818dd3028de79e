from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    field_mask_pb2,
    message_factory,
    text_format,
    timestamp_pb2,
)
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from contracts.method import methods_of
from contracts.redaction import MASK, is_personal, redacted
from contracts.services import our_services
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailRequest
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.mesh.v1 import policy_pb2
from solo60.payment.v1.payment_pb2 import CardMethod, CreditsMethod, PaymentMethod
from solo60.user.v1.user_pb2 import BatchGetUsersResponse, User

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

MARKER = "jane.doe@example.com"
MESSAGES = sorted(
    {each for service in our_services() for m in methods_of(service) for each in (m.request_type, m.response_type)},
    key=lambda message: message.DESCRIPTOR.full_name,
)


def with_inner(types: Iterable[type[Message]]) -> Iterator[type[Message]]:
    """Yield `types` and all our message types that they contain, once each."""
    seen, waiting = set(), list(types)
    while waiting:
        each = waiting.pop()
        if each.DESCRIPTOR.full_name in seen or not each.DESCRIPTOR.full_name.startswith("solo60."):
            continue
        seen.add(each.DESCRIPTOR.full_name)
        yield each
        inner: Iterator[Any] = (
            field.message_type for field in each.DESCRIPTOR.fields if field.message_type is not None
        )
        waiting += [message_factory.GetMessageClass(one) for one in inner if not one.GetOptions().map_entry]


TYPES = sorted(with_inner(MESSAGES), key=lambda message: message.DESCRIPTOR.full_name)
WITH_MARKED_FIELDS = """
name: "with_marked_fields.proto" package: "made.up" syntax: "proto3"
dependency: ["google/protobuf/any.proto", "google/protobuf/timestamp.proto", "google/protobuf/field_mask.proto"]
enum_type {name: "Kind" value {name: "KIND_UNSPECIFIED" number: 0}}
message_type {
  name: "Inner"
  field {name: "plain" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL}
  field {name: "hidden" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL options {[solo60.mesh.v1.pii]: true}}
  field {name: "hidden_data" number: 3 type: TYPE_BYTES label: LABEL_REPEATED options {[solo60.mesh.v1.pii]: true}}
}
message_type {
  name: "Outer"
  nested_type {
    name: "ByKeyEntry" options {map_entry: true}
    field {name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL}
    field {name: "value" number: 2 type: TYPE_MESSAGE type_name: ".made.up.Inner" label: LABEL_OPTIONAL}
  }
  nested_type {
    name: "HiddenByKeyEntry" options {map_entry: true}
    field {name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL}
    field {name: "value" number: 2 type: TYPE_MESSAGE type_name: ".made.up.Inner" label: LABEL_OPTIONAL}
  }
  field {name: "hidden" number: 1 type: TYPE_MESSAGE type_name: ".made.up.Inner" label: LABEL_OPTIONAL
         options {[solo60.mesh.v1.pii]: true}}
  field {name: "hidden_list" number: 2 type: TYPE_MESSAGE type_name: ".made.up.Inner" label: LABEL_REPEATED
         options {[solo60.mesh.v1.pii]: true}}
  field {name: "by_key" number: 3 type: TYPE_MESSAGE type_name: ".made.up.Outer.ByKeyEntry" label: LABEL_REPEATED}
  field {name: "hidden_by_key" number: 4 type: TYPE_MESSAGE type_name: ".made.up.Outer.HiddenByKeyEntry"
         label: LABEL_REPEATED options {[solo60.mesh.v1.pii]: true}}
  field {name: "list" number: 5 type: TYPE_MESSAGE type_name: ".made.up.Inner" label: LABEL_REPEATED}
  field {name: "one" number: 6 type: TYPE_MESSAGE type_name: ".made.up.Inner" label: LABEL_OPTIONAL oneof_index: 0}
  field {name: "hidden_one" number: 7 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0
         options {[solo60.mesh.v1.pii]: true}}
  field {name: "self" number: 8 type: TYPE_MESSAGE type_name: ".made.up.Outer" label: LABEL_OPTIONAL}
  field {name: "packed" number: 9 type: TYPE_MESSAGE type_name: ".google.protobuf.Any" label: LABEL_OPTIONAL}
  field {name: "time" number: 10 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL}
  field {name: "mask" number: 11 type: TYPE_MESSAGE type_name: ".google.protobuf.FieldMask" label: LABEL_OPTIONAL}
  field {name: "kind" number: 12 type: TYPE_ENUM type_name: ".made.up.Kind" label: LABEL_OPTIONAL}
  field {name: "data" number: 13 type: TYPE_BYTES label: LABEL_OPTIONAL}
  oneof_decl {name: "choice"}
}
"""


@pytest.fixture(scope="module")
def with_marked_fields() -> type[Any]:
    """Return a message type with marked fields in every possible place."""
    for known in (any_pb2, timestamp_pb2, field_mask_pb2, policy_pb2):
        assert known.DESCRIPTOR  # its contract is loaded
    file = text_format.Parse(WITH_MARKED_FIELDS, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("made.up.Outer"))


def fill(message: Message, data: st.DataObject, *, personal: bool, depth: int = 0) -> None:
    """Set randomly chosen fields and every personal field of `message`. All personal texts contain the marker."""
    for field in message.DESCRIPTOR.fields:
        if data.draw(st.booleans()) or is_personal(field):
            _set(message, field, data, personal=personal or is_personal(field), depth=depth)


def _set(message: Any, field: Any, data: st.DataObject, *, personal: bool, depth: int) -> None:
    text = MARKER if personal else "harmless"
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(message, field.name)["key"] = text
    elif field.message_type is not None and depth < 4:
        inner = getattr(message, field.name)
        inner = inner.add() if field.is_repeated else inner
        inner.SetInParent()
        if inner.DESCRIPTOR.full_name.startswith("solo60."):
            fill(inner, data, personal=personal, depth=depth + 1)
    elif field.type in {field.TYPE_STRING, field.TYPE_BYTES}:
        value = text if field.type == field.TYPE_STRING else text.encode()
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)


@pytest.mark.requirement("S4")
@given(st.data())
def test_personal_data_never_appears(data: st.DataObject) -> None:
    """No marked field of any message of our contracts can be read in its redacted form."""
    message = data.draw(st.sampled_from(MESSAGES))()
    fill(message, data, personal=False)

    assert MARKER not in repr(redacted(message))


def test_a_marked_field_is_shown_as_a_mask_if_set() -> None:
    """A marked field is shown as a mask if it is set, and is missing if it is not."""
    assert redacted(EchoRequest(text="hi", email=MARKER)) == {"text": "hi", "email": MASK}
    assert redacted(EchoRequest(text="hi")) == {"text": "hi"}


def test_marked_fields_of_nested_messages_are_masked() -> None:
    """Marked fields of nested and repeated messages are masked."""
    users = [User(user_id="7", email=MARKER), User(user_id="8", display_name=MARKER)]

    shown = redacted(BatchGetUsersResponse(users=users))

    assert shown["users"] == [{"user_id": "7", "email": MASK}, {"user_id": "8", "display_name": MASK}]


def test_a_marked_map_is_masked_as_a_whole() -> None:
    """A marked map is replaced by one mask, with its keys and values."""
    request = SendEmailRequest(
        recipient=Recipient(email=MARKER), template_key="SESSION_BOOKED", variables={"name": MARKER}
    )

    shown = redacted(request)

    assert (shown["template_key"], shown["variables"]) == ("SESSION_BOOKED", MASK)
    assert MARKER not in repr(shown)


def test_a_marked_field_of_a_oneof_is_masked() -> None:
    """A marked field within a oneof is masked, and the choice itself is shown."""
    assert redacted(PaymentMethod(card=CardMethod(card_token=MARKER))) == {"card": {"card_token": MASK}}
    assert redacted(PaymentMethod(credits=CreditsMethod())) == {"credits": {}}


@pytest.mark.parametrize("message_type", TYPES, ids=lambda each: each.DESCRIPTOR.full_name)
def test_every_marked_field_of_every_message_is_masked(message_type: type[Message]) -> None:
    """Every marked field of our messages is masked, on each path that leads to it."""
    for path in paths_to_personal_fields(message_type.DESCRIPTOR):
        message = message_type()
        plant(message, path)
        assert MARKER.encode() in message.SerializeToString(), "the marker is missing in the message"

        shown = repr(redacted(message))

        assert MARKER not in shown
        assert MASK in shown


def paths_to_personal_fields(
    descriptor: Any,
    above: tuple[FieldDescriptor, ...] = (),
) -> Iterator[list[FieldDescriptor]]:
    """Yield each path of fields down to a marked one, entering a recursive message once."""
    for field in descriptor.fields:
        if is_personal(field):
            yield [*above, field]
        elif field.message_type is not None and all(field.message_type is not each.message_type for each in above):
            yield from paths_to_personal_fields(field.message_type, (*above, field))


def plant(message: Any, path: list[FieldDescriptor]) -> None:
    """Put the marker at the end of `path`, into every text of the field."""
    field, *rest = path
    inner = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if rest:
            plant(inner["key"], rest[1:])
        elif field.message_type.fields_by_name["value"].message_type is None:
            inner[MARKER] = MARKER
        else:
            plant_everywhere(inner[MARKER])
    elif field.message_type is not None:
        inner = inner.add() if field.is_repeated else inner
        plant(inner, rest) if rest else plant_everywhere(inner)
    else:
        value: Any = MARKER if field.type == field.TYPE_STRING else MARKER.encode()
        inner.append(value) if field.is_repeated else setattr(message, field.name, value)


def plant_everywhere(message: Message) -> None:
    """Put the marker into every text field of `message`."""
    field: Any
    for field in message.DESCRIPTOR.fields:
        if field.type in {field.TYPE_STRING, field.TYPE_BYTES}:
            plant(message, [field])


def test_marks_in_any_place_are_masked(with_marked_fields: type[Any]) -> None:
    """Marked fields are masked in places that our contracts do not use yet.

    Marks are on messages, maps and bytes, and below maps, lists and oneofs.
    """
    ways = list(paths_to_personal_fields(with_marked_fields.DESCRIPTOR))
    assert len(ways) == 2 * (4 + 3 * 2)  # 4 marked fields, and 2 below each of 3 others, all twice by recursion
    for path in ways:
        message = with_marked_fields()
        plant(message, path)

        shown = repr(redacted(message))

        assert MARKER not in shown
        assert MASK in shown


def test_an_any_shows_only_its_type(with_marked_fields: type[Any]) -> None:
    """A google.protobuf.Any shows only the type of its message, or a mask if the type is unknown."""
    message = with_marked_fields()
    message.packed.Pack(EchoRequest(text="hi", email=MARKER))
    assert redacted(message) == {"packed": {"@type": "solo60.example.v1.EchoRequest", "value": MASK}}

    message.packed.type_url = f"type.googleapis.com/{MARKER}"
    assert redacted(message) == {"packed": MASK}


def test_malformed_values_are_shown(with_marked_fields: type[Any]) -> None:
    """Malformed times and masks, unknown enum values and bytes are shown, because logging must not fail a request."""
    message = with_marked_fields()
    message.time.seconds = 2**62
    message.mask.paths.append("a_B")
    message.kind = 7
    message.data = b"123"

    shown = redacted(message)

    assert shown == {"time": {"seconds": 2**62}, "mask": {"paths": ["a_B"]}, "kind": 7, "data": "3 bytes"}


def test_times_are_formatted_and_long_texts_are_cut() -> None:
    """Times are shown in RFC 3339 and texts are cut after 200 characters."""
    shown = redacted(User(user_id="x" * 1000, create_time=Timestamp(seconds=1_767_268_800)))

    assert shown["create_time"] == "2026-01-01T12:00:00Z"
    assert shown["user_id"] == "x" * 200 + "…"


def test_long_paths_and_keys_are_cut(with_marked_fields: type[Any]) -> None:
    """Paths of field masks and keys of maps are cut after 200 characters."""
    message = with_marked_fields(mask={"paths": ["x" * 1000]}, by_key={"y" * 1000: {"plain": "z"}})

    assert redacted(message) == {"mask": "x" * 200 + "…", "by_key": {"y" * 200 + "…": {"plain": "z"}}}
