"""Peer of a call: the host at the other end of its connection."""

from __future__ import annotations

from urllib.parse import unquote

from contracts.canonical import canonical_address


def host_of(peer: str) -> str:
    """Return the host of a gRPC peer such as "ipv4:10.0.0.7:51234", the same for all its connections.

    An IPv6 host may use any address of its /64, so the network identifies it: "2001:db8::/64". An IPv4 address written
    as IPv6 ("::ffff:10.0.0.7") gives the plain IPv4 address.
    """
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return peer.rpartition(":")[0]
    return canonical_address(unquote(rest).rpartition(":")[0].strip("[]"))
