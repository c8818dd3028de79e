"""Addresses of the parts of the map."""

from __future__ import annotations

from contracts.names import short_name
from operations.addresses import page_address


def edge_key(caller: str, method: str) -> str:
    """Return the name of an edge in addresses: "session:gym.GetGym" for a full name of the method."""
    return f"{caller}:{short_name(method)}"


def map_address(**query: str) -> str:
    """Return the address of the map with the parameters that are not empty."""
    return page_address("map", **query)
