from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor import FieldDescriptor

from contracts.redaction import is_personal
from contracts.services import our_services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

# A text, bytes or map field with one of these words in its name is personal data or a secret.
PERSONAL_WORDS = {"address", "body", "card", "code", "email", "ip", "name", "password"}
PERSONAL_WORDS |= {"payload", "phone", "secret", "signature", "token", "variables"}
# Fields that contain such a word but are not personal, each with the reason.
HARMLESS = {
    "page_token": "a cursor",
    "next_page_token": "a cursor",
    "currency_code": "ISO 4217",
    "solo60.gym.v1.Gym.name": "name of a gym",
    "solo60.gym.v1.CreateGymRequest.name": "name of a gym",
    "solo60.subscription.v1.Plan.name": "name of a plan",
}


@pytest.mark.requirement("S4")
def test_every_field_with_a_personal_name_is_marked() -> None:
    """Every text, bytes or map field with a personal word in its name is marked personal or listed in HARMLESS.

    Ids are not personal, as the next test says.
    """
    unmarked = {
        field.full_name
        for field in _fields()
        if PERSONAL_WORDS & set(field.name.split("_")) and _holds_text(field) and not is_personal(field)
        if not field.name.endswith("_id")
    }

    assert unmarked - {name for name in unmarked if name in HARMLESS or name.rpartition(".")[2] in HARMLESS} == set()


def test_ids_are_not_personal() -> None:
    """No id field is marked personal, so that log lines name their user, session or gym."""
    assert {field.full_name for field in _fields() if field.name.endswith("_id") and is_personal(field)} == set()


def _holds_text(field: FieldDescriptor) -> bool:
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    return is_map or field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}


def _fields() -> Iterator[FieldDescriptor]:
    seen: set[str] = set()
    waiting: list[Descriptor] = [
        message for service in our_services() for m in service.methods for message in (m.input_type, m.output_type)
    ]
    while waiting:
        message = waiting.pop()
        if message.full_name in seen or message.GetOptions().map_entry:
            continue
        seen.add(message.full_name)
        yield from message.fields
        waiting += [field.message_type for field in message.fields if field.message_type is not None]
