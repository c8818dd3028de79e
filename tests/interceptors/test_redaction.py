from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from contracts.linter import our_services
from contracts.method import methods_of
from interceptors.redaction import MASK, is_personal, redacted
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailRequest
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.payment.v1.payment_pb2 import CardMethod, CreditsMethod, PaymentMethod
from solo60.user.v1.user_pb2 import BatchGetUsersResponse, User

if TYPE_CHECKING:
    from google.protobuf.message import Message

MARKER = "jane.doe@example.com"
MESSAGES = sorted(
    {each for service in our_services() for m in methods_of(service) for each in (m.request_type, m.response_type)},
    key=lambda message: message.DESCRIPTOR.full_name,
)


def fill(message: Message, data: st.DataObject, *, personal: bool, depth: int = 0) -> None:
    """Set fields of `message`, chosen by chance: the marker in each one that is personal or within one that is."""
    for field in message.DESCRIPTOR.fields:
        if data.draw(st.booleans()) or is_personal(field):
            _set(message, field, data, personal=personal or is_personal(field), depth=depth)


def _set(message: Any, field: Any, data: st.DataObject, *, personal: bool, depth: int) -> None:  # noqa: ANN401 - any message and field
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


@given(st.data())
def test_personal_data_never_appears(data: st.DataObject) -> None:
    """S4: whatever message of ours is shown, nothing that its contract marks can be read."""
    message = data.draw(st.sampled_from(MESSAGES))()
    fill(message, data, personal=False)

    assert MARKER not in repr(redacted(message))


def test_a_marked_field_shows_that_it_was_set_and_nothing_else() -> None:
    """A log still tells whether a caller sent an address."""
    assert redacted(EchoRequest(text="hi", email=MARKER)) == {"text": "hi", "email": MASK}
    assert redacted(EchoRequest(text="hi")) == {"text": "hi"}


def test_what_is_nested_or_repeated_is_masked() -> None:
    """A message within a message keeps its own marks."""
    users = [User(user_id="7", email=MARKER), User(user_id="8", display_name=MARKER)]

    shown = redacted(BatchGetUsersResponse(users=users))

    assert shown["users"] == [{"user_id": "7", "email": MASK}, {"user_id": "8", "display_name": MASK}]


def test_a_marked_map_is_masked_as_a_whole() -> None:
    """The words of a mail are personal, its template is not."""
    request = SendEmailRequest(
        recipient=Recipient(email=MARKER), template_key="SESSION_BOOKED", variables={"name": MARKER}
    )

    shown = redacted(request)

    assert (shown["template_key"], shown["variables"]) == ("SESSION_BOOKED", MASK)
    assert MARKER not in repr(shown)


def test_the_chosen_one_of_several_fields_is_masked() -> None:
    """A card's token is a secret; paying with credits has none."""
    assert redacted(PaymentMethod(card=CardMethod(card_token=MARKER))) == {"card": {"card_token": MASK}}
    assert redacted(PaymentMethod(credits=CreditsMethod())) == {"credits": {}}


def test_times_can_be_read_and_long_texts_are_cut() -> None:
    """A log line stays a line."""
    shown = redacted(User(user_id="x" * 1000, create_time=Timestamp(seconds=1_767_268_800)))

    assert shown["create_time"] == "2026-01-01T12:00:00Z"
    assert shown["user_id"] == "x" * 200 + "…"
