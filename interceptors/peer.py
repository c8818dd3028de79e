"""Peer: who is at the other end of a call's connection, as far as the network says it."""

from __future__ import annotations

from urllib.parse import unquote

from contracts.canonical import canonical_address


def host_of(peer: str) -> str:
    """Return the part of gRPC's "ipv4:10.0.0.7:51234" that stays the same for each connection of a host.

    A host with IPv6 may use any address of its /64, so that is its name: "2001:db8::/64". An IPv4 address that is
    written as IPv6 ("::ffff:10.0.0.7") is the same host as without.
    """
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return peer.rpartition(":")[0]
    return canonical_address(unquote(rest).rpartition(":")[0].strip("[]"))
