"""Canonical forms: one key for all spellings of one value, by the rules of the field in its contract.

A caller chooses the spelling of a value. Whatever counts by value must count `A1b2` and `a1B2` together where both are
one UUID, or a limit of ten lets through as many calls as there are spellings.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from contracts.mail_address import canonical
from contracts.texts import string_rules_of
from solo60.common.v1 import text_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    Canonical = Callable[[str], str]

# A provider gives one host a whole network of this many bits (RFC 6177), so its single addresses tell nothing.
HOST_PREFIX_BITS = 64
_HOST_BITS = 128 - HOST_PREFIX_BITS


def canonical_form(field: FieldDescriptor) -> Canonical | None:
    """Return the function that turns each spelling of a value of `field` into one key, or None where none differ.

    The field's rule (`uuid`, `ip`, `mail_address`) decides.
    """
    if field.type != FieldDescriptor.TYPE_STRING:
        return None
    rules = string_rules_of(field)
    if rules.Extensions[text_pb2.mail_address]:
        return _canonical_email
    kind = rules.WhichOneof("well_known")
    return _BY_KIND.get(kind) if kind and getattr(rules, kind) else None


def canonical_address(text: str) -> str:
    """Return the key of the host at an IP address: an IPv6 host is its /64, an IPv4-mapped address is IPv4.

    Text that is no address is its own key.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_link_local:  # one network for all hosts of a link
        return str(address)
    return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/{HOST_PREFIX_BITS}"


def _canonical_uuid(text: str) -> str:
    return text.replace("-", "").lower()


def _canonical_email(text: str) -> str:
    """Return an address as the user service compares it: in its stored form, case-folded as a whole."""
    try:
        return canonical(text).casefold()
    except ValueError:
        return text.casefold()


# By protovalidate's rule.
_BY_KIND: dict[str, Canonical] = {
    "uuid": _canonical_uuid,
    "tuuid": _canonical_uuid,
    "ulid": str.casefold,
    "email": _canonical_email,
    "hostname": str.casefold,
    "host_and_port": str.casefold,
    "address": canonical_address,
    "ip": canonical_address,
    "ipv4": canonical_address,
    "ipv6": canonical_address,
}
