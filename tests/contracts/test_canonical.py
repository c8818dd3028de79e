from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.canonical import canonical_address, canonical_form
from solo60.auth.v1 import auth_pb2
from solo60.example.v1 import echo_pb2
from solo60.session.v1 import session_pb2

if TYPE_CHECKING:
    from uuid import UUID

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message


def field_of(message: type[Message], name: str) -> FieldDescriptor:
    """Return a field of a message type."""
    return cast("FieldDescriptor", message.DESCRIPTOR.fields_by_name[name])


@given(st.uuids(), st.randoms())
def test_every_spelling_of_a_uuid_is_one_key(value: UUID, chance: object) -> None:
    """Neither the case of a hex digit nor a dash makes another value."""
    form = canonical_form(field_of(session_pb2.InviteGuestRequest, "session_id"))
    assert form is not None
    mixed = "".join(chance.choice((each.lower(), each.upper())) for each in str(value))  # type: ignore[attr-defined]  # hypothesis' own randomness

    assert {form(spelling) for spelling in (str(value), mixed, value.hex, str(value).upper())} == {value.hex}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jo@example.com", "Jo@EXAMPLE.com"),
        ("jo@b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "Jo@XN--bcher-kva.example"),
        ("strasse@docomo.ne.jp", "stra\N{LATIN SMALL LETTER SHARP S}e@docomo.ne.jp"),
    ],
)
def test_an_email_address_is_folded_as_the_user_service_folds_it(one: str, other: str) -> None:
    """Spellings of one user there count once here."""
    form = canonical_form(field_of(auth_pb2.LogInRequest, "email"))

    assert form is not None
    assert form(one) == form(other)


def test_what_has_one_spelling_alone_is_its_own_key() -> None:
    """A plain text, a number, a message: letters that differ make another value."""
    assert canonical_form(field_of(echo_pb2.EchoRequest, "text")) is None
    assert canonical_form(field_of(echo_pb2.EchoRequest, "period")) is None
    assert canonical_form(field_of(echo_pb2.EchoManyRequest, "repeat")) is None


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:DB8:0:0:ffff::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1", "fe80::1"),
        ("no address", "no address"),
    ],
)
def test_an_address_is_counted_as_the_host_that_has_it(address: str, key: str) -> None:
    """A host with IPv6 has a whole /64 to choose from, and one with IPv4 may be written as IPv6."""
    assert canonical_address(address) == key
