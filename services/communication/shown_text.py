"""Shown text: how a mail shows values that people typed, so that none can pass for our own words or for a link.

Mails are plain text, so neither HTML nor Markdown means anything in them, but mail programs turn addresses of web sites
into links. Letters such as U+200C and U+200D, which Persian names and emoji need, stay.
"""

from __future__ import annotations

import re

# The characters that the rule `line` of the contracts refuses, and surrogates, which settings can hold and no mail can.
_NOT_ON_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# A full stop within a domain name; browsers take the ideographic and the wide ones for it (RFC 3490, section 3.1).
_DOT_OF_DOMAIN = re.compile(r"(?<=\w[.\u3002\uff0e\uff61])(?=[^\W\d_])")
_QUOTES = re.compile('["\u201c\u201d\u201e\u201f]')


class AsWritten(str):
    """A value that a mail shows unchanged: its template says so."""

    __slots__ = ()


def one_line(text: str) -> str:
    """Return `text` without line breaks and control characters, so that it can end no header and begin no other."""
    return " ".join(_NOT_ON_A_LINE.sub(" ", text).split())


def unlinked(text: str) -> str:
    """Return `text` with a space in each part that a mail program could take for a link: "evil. example"."""
    return _DOT_OF_DOMAIN.sub(" ", text).replace("://", ": //")


def quoted(name: str) -> str:
    """Return a name in quotation marks, which it cannot close: for readers who did not type it themselves."""
    return f"\u201c{_QUOTES.sub(chr(39), name)}\u201d"


def shown(value: object) -> str:
    """Return a template's value as a mail shows it: one line without links, unless the template wants it as written."""
    return value if isinstance(value, AsWritten) else unlinked(one_line(str(value)))
