"""Peer: who is at the other end of a call's connection, as far as the network says it."""

from __future__ import annotations


def host_of(peer: str) -> str:
    """Return the part of gRPC's "ipv4:10.0.0.7:51234" that stays the same for each connection of a host."""
    return peer.rpartition(":")[0]
