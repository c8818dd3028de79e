"""Mail addresses: the rule `mail_address` of solo60/common/v1/text.proto, and the forms of an address.

RFC 5321 defines the addresses that SMTP can deliver to. Domains may be internationalized (IDNA, RFC 5891). Local parts
must be ASCII, because others need SMTPUTF8 (RFC 6531) on every mail server along the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import idna

# RFC 5321, section 4.5.3.1, in octets: the local part, and the path without angle brackets.
MAX_LOCAL_PART_LENGTH = 64
MAX_ADDRESS_LENGTH = 254
# RFC 5322, section 3.2.3. A local part of these characters, separated by single dots, needs no quotes.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_UNQUOTED = re.compile(rf"(?:{_ATOM}|\.)+")
# RFC 5321, section 4.1.2: a quoted string.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\[ -~])+)"')
# RFC 1123, section 2.1: letters, digits and hyphens. The last label must not begin with a digit.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?=[A-Za-z]){_LABEL}")
_A_LABEL = "xn--"


@dataclass(frozen=True, slots=True)
class MailAddress:
    """Mail address that SMTP can deliver to: the local part without quotes, and the domain in ASCII."""

    local_part: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an address as people write it; raise ValueError if it is invalid.

        The error does not repeat the address, because addresses are personal data.
        """
        local_part, at, domain = text.rpartition("@")
        if not at:
            raise ValueError("must be in the form local@domain")
        address = cls(_read_local_part(local_part), _ascii_domain(domain))
        if len(address.wire.rpartition("@")[0]) > MAX_LOCAL_PART_LENGTH:
            raise ValueError(f"must have at most {MAX_LOCAL_PART_LENGTH} characters before the @")
        if len(address.wire) > MAX_ADDRESS_LENGTH:
            raise ValueError(f"must be at most {MAX_ADDRESS_LENGTH} characters long, with its domain in ASCII")
        return address

    @property
    def wire(self) -> str:
        """Address for SMTP and headers: quoted unless the local part is a dot-atom."""
        return f"{self._local_part(is_quoted=not _DOT_ATOM.fullmatch(self.local_part))}@{self.domain}"

    @property
    def canonical(self) -> str:
        """Address for storage and comparison: quoted only if necessary, and with its domain in ASCII."""
        return f"{self._local_part(is_quoted=not _UNQUOTED.fullmatch(self.local_part))}@{self.domain}"

    @property
    def readable(self) -> str:
        """Address for people: like `canonical`, with its domain in Unicode."""
        local_part, _, _ = self.canonical.rpartition("@")
        return f"{local_part}@{idna.decode(self.domain) if _A_LABEL in self.domain.lower() else self.domain}"

    def _local_part(self, *, is_quoted: bool) -> str:
        return '"' + re.sub(r'(["\\])', r"\\\1", self.local_part) + '"' if is_quoted else self.local_part


def canonical(text: str) -> str:
    """Return the form of an address for storage and comparison; raise ValueError if it is invalid."""
    return MailAddress.parse(text).canonical


def folded(text: str) -> str:
    """Return the form by which services compare addresses: the canonical one, in lower case.

    Raises ValueError if the address is invalid.
    """
    return canonical(text).casefold()


def readable(text: str) -> str:
    """Return an address for people; return text that is not a valid address unchanged."""
    try:
        return MailAddress.parse(text).readable
    except ValueError:
        return text


def _read_local_part(text: str) -> str:
    if not text.isascii():
        raise ValueError("must have only ASCII characters before the @")
    quoted = _QUOTED.fullmatch(text)
    if quoted is None and not _UNQUOTED.fullmatch(text):
        raise ValueError("must not have spaces or special characters before the @, unless quoted")
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text


def _ascii_domain(text: str) -> str:
    domain = text
    if not text.isascii() or _A_LABEL in text.lower():
        try:
            domain = idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
        except idna.IDNAError:
            raise ValueError("must have a domain name after the @ (RFC 5891)") from None
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("must have a domain name after the @, such as solo60.example")
    return domain
