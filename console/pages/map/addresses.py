"""Addresses of the map: its parts, its views, and pages about a method elsewhere in the console."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from contracts.names import own_name, package_of, short_name, short_package

MAP = "/map"


def edge_key(caller: str, method: str) -> str:
    """Return the name of an edge in addresses: "session:gym.GetGym" for a full name of the method."""
    return f"{caller}:{short_name(method)}"


def map_address(**query: str) -> str:
    """Return the address of the map with the parameters that are not empty."""
    chosen = {name: value for name, value in query.items() if value}
    return f"{MAP}?{urlencode(chosen, quote_via=quote, safe=':')}" if chosen else MAP


def docs_address(method: str) -> str:
    """Return the address of the page about a method ("package.Service/Method") in the contracts."""
    return f"/internal/docs/{quote(short_package(package_of(method)), safe='')}/{quote(own_name(method), safe='')}"
