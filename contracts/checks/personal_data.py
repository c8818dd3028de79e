"""Check of personal data: a field with a personal name is marked, or says that it is not personal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject

# The last word of a name is the kind of the value: an `ip_address` is an address, an `address_type` is not.
_LAST_WORDS = frozenset(
    {"address", "birthday", "body", "card", "code", "email", "iban", "ip", "nickname", "passport", "password"}
    | {"payload", "phone", "postcode", "secret", "signature", "street", "surname", "token", "username", "variables"}
)
_LAST_TWO_WORDS = frozenset(
    {"api key", "birth date", "card number", "date birth", "of birth", "password hash", "phone number", "private key"}
    | {"payload json", "secret key", "tax id", "token hash"}
)
# A bare `name`, and the names of people. Other names are those of things: `gym_name`, `template_name`.
_NAMES_OF_PEOPLE = frozenset(
    {"", "contact", "customer", "display", "family", "first", "full", "given", "guest", "holder", "last", "legal"}
    | {"maiden", "member", "middle", "nick", "person", "recipient", "user"}
)
_HARMLESS = frozenset(
    {"page token", "country code", "currency code", "error code", "language code", "region code", "status code"}
)
_KINDS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_MESSAGES = frozenset({"google.type.Date", "google.type.PhoneNumber", "google.type.PostalAddress"}) | {
    f"google.protobuf.{name}" for name in ("Any", "BytesValue", "ListValue", "StringValue", "Struct", "Value")
}
_NEXT_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def undeclared(subject: Subject) -> Iterator[Problem]:
    """Yield each field with a personal name and without the option `pii`, if the contracts know the option."""
    if not subject.image.imports(policy_pb2.DESCRIPTOR.name):
        return
    for message in subject.image.messages():
        for field in message.fields:
            if has_personal_name(field) and not field.GetOptions().HasExtension(policy_pb2.pii):
                text = "looks like personal data or a secret; add [(solo60.mesh.v1.pii) = true]"
                yield subject.problem(field, f"{text}, or = false if it is neither")


def has_personal_name(field: FieldDescriptor) -> bool:
    """Return whether a field holds text, bytes, a map or a well-known personal message, and has a personal name."""
    message = field.message_type
    if message is not None:
        if not message.GetOptions().map_entry and message.full_name not in _MESSAGES:
            return False
    elif field.type not in _KINDS:
        return False
    *_, before, last = ["", "", *_NEXT_WORD.sub("_", field.name).lower().split("_")]
    words = {last, _singular(last)} if field.is_repeated else {last}
    return any(_is_personal(before, word) for word in words)


def _is_personal(before: str, last: str) -> bool:
    if f"{before} {last}" in _HARMLESS:
        return False
    is_name = last == "name" and before in _NAMES_OF_PEOPLE
    return is_name or last in _LAST_WORDS or f"{before} {last}" in _LAST_TWO_WORDS


def _singular(word: str) -> str:
    """Return a plural without its ending: "address" for "addresses", and "email" for "emails"."""
    return word.removesuffix("es") if word.endswith("sses") else word.removesuffix("s")
