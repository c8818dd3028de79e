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
def test_every_spelling_of_a_uuid_is_one_key(value: UUID, rng: object) -> None:
    """The canonical form of a UUID does not depend on its dashes or on the case of its digits."""
    form = canonical_form(field_of(session_pb2.InviteGuestRequest, "session_id"))
    assert form is not None
    mixed = "".join(rng.choice((each.lower(), each.upper())) for each in str(value))  # type: ignore[attr-defined]  # random numbers of hypothesis

    assert {form(spelling) for spelling in (str(value), mixed, value.hex, str(value).upper())} == {value.hex}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jo@example.com", "Jo@EXAMPLE.com"),
        ("jo@b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "Jo@XN--bcher-kva.example"),
        ("strasse@docomo.ne.jp", "stra\N{LATIN SMALL LETTER SHARP S}e@docomo.ne.jp"),
    ],
)
def test_spellings_of_an_email_address_are_one_key(one: str, other: str) -> None:
    """Spellings of an email address that the user service folds into one user have one canonical form."""
    form = canonical_form(field_of(auth_pb2.LogInRequest, "email"))

    assert form is not None
    assert form(one) == form(other)


def test_other_fields_have_no_canonical_form() -> None:
    """Plain texts, messages and numbers have no canonical form."""
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
def test_an_address_is_keyed_by_its_host(address: str, key: str) -> None:
    """An IPv6 address is keyed by its /64 network, unless it is link-local.

    An IPv4-mapped address is keyed by its IPv4 address.
    """
    assert canonical_address(address) == key
