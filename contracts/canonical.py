"""Canonical forms: one key for all spellings of a value, according to the field's rule in the contract.

The caller chooses the spelling of a value. A limit per value must count `A1b2` and `a1B2` together if both are the same
UUID. Otherwise a limit of ten calls would allow ten calls for each spelling.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from contracts.mail_address import folded
from contracts.texts import string_rules_of
from solo60.common.v1 import text_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    Canonical = Callable[[str], str]

# A provider assigns at least a /64 to each customer (RFC 6177), so single addresses do not identify hosts.
HOST_PREFIX_BITS = 64
_HOST_BITS = 128 - HOST_PREFIX_BITS


def canonical_form(field: FieldDescriptor) -> Canonical | None:
    """Return the function that maps all spellings of a value of `field` to one key; None if spellings never differ.

    The field's rule decides, such as `uuid`, `ip` or `mail_address`.
    """
    if field.type != FieldDescriptor.TYPE_STRING:
        return None
    rules = string_rules_of(field)
    if rules.Extensions[text_pb2.mail_address]:
        return _canonical_email
    kind = rules.WhichOneof("well_known")
    return _BY_RULE.get(kind) if kind and getattr(rules, kind) else None


def canonical_address(text: str) -> str:
    """Return the key of the host at an IP address: the /64 network for IPv6, the address itself for IPv4.

    An IPv4-mapped address counts as IPv4. A link-local address is its own key, and so is text that is not an address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_link_local:  # all hosts on a link share one network
        return str(address)
    return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/{HOST_PREFIX_BITS}"


def _canonical_uuid(text: str) -> str:
    return text.replace("-", "").lower()


def _canonical_email(text: str) -> str:
    """Return the folded form of a mail address; fold the case of text that is not an address."""
    try:
        return folded(text)
    except ValueError:
        return text.casefold()


# Functions by the name of protovalidate's rule.
_BY_RULE: dict[str, Canonical] = {
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
