"""Addresses of the console's pages: for links between pages, and from problems and search results to pages."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def page_address(*parts: str, **query: str) -> str:
    """Return the address of the page whose path has these parts, with the parameters that are not empty.

    Any text is safe as a part or a value, because it is percent-encoded.

    >>> page_address("outbox", "gym", "a/b"), page_address("logs", service="gym", level="")
    ('/outbox/gym/a%2Fb', '/logs?service=gym')
    """
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    filled = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(filled, safe=':', quote_via=quote)}" if filled else path
