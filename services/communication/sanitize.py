"""Sanitizing of user input for mails, so that a value cannot look like our own text or become a link.

Mail programs turn web addresses into links, in plain text and in HTML. The templates escape values in HTML.
Characters such as U+200C and U+200D are allowed, because Persian names and emoji need them.
"""

from __future__ import annotations

import re

from markupsafe import Markup

# Characters that the contracts' rule `line` rejects. Also surrogates: a setting can contain them, but a mail cannot.
_NOT_ALLOWED_ON_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# A full stop in a domain name. Browsers also accept the ideographic, fullwidth and halfwidth forms (RFC 3490, section
# 3.1).
_DOMAIN_DOT = re.compile(r"(?<=\w[.\u3002\uff0e\uff61])(?=[^\W\d_])")
_QUOTES = re.compile('["\u201c\u201d\u201e\u201f]')


class AsWritten(str):
    """Value that its template marks to be shown unchanged."""

    __slots__ = ()


def one_line(text: str) -> str:
    """Replace line breaks and control characters by single spaces, so that `text` cannot begin a new header."""
    return " ".join(_NOT_ALLOWED_ON_LINE.sub(" ", text).split())


def break_links(text: str) -> str:
    """Insert a space into each part of `text` that a mail program could turn into a link: "evil. example"."""
    return _DOMAIN_DOT.sub(" ", text).replace("://", ": //")


def quoted(name: str) -> str:
    """Put a name in quotation marks that it cannot close. For mails to people other than its author."""
    return f"\u201c{_QUOTES.sub(chr(39), name)}\u201d"


def sanitize(value: object) -> str:
    """Return a template's value as one line without links, or unchanged if it is `AsWritten` or HTML of a macro."""
    return value if isinstance(value, AsWritten | Markup) else break_links(one_line(str(value)))
