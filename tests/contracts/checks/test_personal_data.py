from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from contracts.checks.run import check
from contracts.redaction import is_personal
from contracts.services import our_services
from solo60.mesh.v1 import policy_pb2
from tests.support.images import image_of

TEXT = FieldDescriptorProto.TYPE_STRING
PERSONAL = ["email", "work_email", "emails", "phone_number", "name", "display_name", "first_name", "last_names"]
PERSONAL += ["address", "ip_address", "source_ip", "shipping_addresses", "refresh_token", "new_password", "secret"]
PERSONAL += ["client_secret", "date_of_birth", "birth_date", "card_token", "api_key", "password_hash", "code"]
PERSONAL += ["postal_code", "body", "payload", "signature", "userEmail"]
HARMLESS = ["page_token", "next_page_token", "template_name", "gym_name", "file_name", "email_template", "token_type"]
HARMLESS += [
    "address_type",
    "currency_code",
    "email_message_id",
    "card_brand",
    "phone_model",
    "zip_file",
    "names_count",
]


def findings(name: str, **options: Any) -> list[str]:
    """Declare a message with one field, and return the ids of the findings."""
    file = FileDescriptorProto(name="person.proto", package="acme.person.v1", syntax="proto3")
    file.dependency.append(policy_pb2.DESCRIPTOR.name)
    label = FieldDescriptorProto.LABEL_REPEATED if name.endswith("s") else FieldDescriptorProto.LABEL_OPTIONAL
    field = file.message_type.add(name="Person").field.add(
        name=name, number=1, label=label, type=options.get("type", TEXT)
    )
    if "pii" in options:
        field.options.Extensions[policy_pb2.pii] = options["pii"]
    return [finding.id for finding in check(image_of(file), ignored=["TEXT_OPEN"])]


@pytest.mark.requirement("S4")
@pytest.mark.parametrize("name", PERSONAL)
def test_a_personal_name_needs_a_mark(name: str) -> None:
    """A text with a personal name is marked as personal, or explicitly as not personal."""
    assert findings(name) == ["PII_UNDECLARED"]
    assert findings(name, pii=True) == findings(name, pii=False) == []


@pytest.mark.parametrize("name", HARMLESS)
def test_a_name_of_a_thing_needs_no_mark(name: str) -> None:
    """A personal word that only qualifies a harmless one is no finding, nor are the tokens of pages."""
    assert findings(name) == []


def test_numbers_need_no_mark() -> None:
    """A number with a personal name is no finding: texts, bytes and maps are."""
    assert findings("token", type=FieldDescriptorProto.TYPE_INT64) == []
    assert findings("token", type=FieldDescriptorProto.TYPE_BYTES) == ["PII_UNDECLARED"]


@pytest.mark.parametrize("kind", ["StringValue", "BytesValue", "Struct", "Any"])
def test_a_well_known_message_needs_a_mark(kind: str) -> None:
    """A wrapped text, and a message that may contain any text, needs the mark too."""
    file = FileDescriptorProto(name="person.proto", package="acme.person.v1", syntax="proto3")
    file.dependency.extend(each.DESCRIPTOR.name for each in (policy_pb2, any_pb2, struct_pb2, wrappers_pb2))
    label, message = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.TYPE_MESSAGE
    fields = file.message_type.add(name="Person").field
    fields.add(name="secret", number=1, label=label, type=message, type_name=f".google.protobuf.{kind}")

    assert [finding.id for finding in check(image_of(file), ignored=["TEXT_OPEN"])] == ["PII_UNDECLARED"]


def test_ids_are_not_personal() -> None:
    """No id field of a call is marked personal, so that log lines name their user, session or gym."""
    messages = [
        m for service in our_services() for method in service.methods for m in (method.input_type, method.output_type)
    ]
    seen: set[str] = set()
    while messages:
        message = messages.pop()
        if message.full_name not in seen:
            seen.add(message.full_name)
            assert not [f.full_name for f in message.fields if f.name.endswith("_id") and is_personal(f)]
            messages += [field.message_type for field in message.fields if field.message_type is not None]
    assert len(seen) > 100
