"""Classification of a mail server's refusals, by SMTP command and reply code.

A permanent refusal of a recipient or of the mail is final for that message (RFC 5321, section 4.2.1). A refusal of this
service, such as a missing login, would affect every mail. So the message is retried, and an operator has to act.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

FIRST_PERMANENT_CODE = 500
# RFC 4954, section 6: the login is missing, wrong or too weak, or needs encryption.
LOGIN_CODES = frozenset({530, 534, 535, 538})
# RFC 5321, section 4.2.2, and RFC 7504: the server does not support our commands, or accepts no mail at all.
PROTOCOL_CODES = frozenset({500, 502, 503, 504, 521, 555})
# RFC 3463, section 3: network and routing (4), security and policy (7).
CLIENT_SUBJECTS = frozenset({4, 7})
# RFC 5321 and RFC 3463: the mail exceeds the size limit of the server or mailbox.
TOO_LARGE_CODES = frozenset({552})
TOO_LARGE_DETAILS = frozenset({(2, 3), (3, 4)})
_ENHANCED = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})(?!\S)")


class Command(Enum):
    """SMTP command that was refused. DATA includes the mail itself."""

    MAIL = auto()
    RCPT = auto()
    DATA = auto()


class Meaning(Enum):
    """Consequence of a refusal for other attempts."""

    LATER = auto()
    """The same mail may be accepted later."""
    REFUSED = auto()
    """This mail or recipient will never be accepted."""
    CLIENT_REJECTED = auto()
    """The server rejects this service: no mail is accepted until an operator fixes the cause."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Refusal by a mail server. `text` may contain addresses."""

    command: Command
    code: int
    text: str = ""

    @property
    def detail(self) -> tuple[int, int] | None:
        """Subject and detail of the enhanced status code (RFC 3463), or None."""
        found = _ENHANCED.match(self.text)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def codes(self) -> str:
        """Codes of the answer, without personal data: "550 5.7.1"."""
        found = _ENHANCED.match(self.text)
        return f"{self.code} {found[0]}" if found else str(self.code)

    @property
    def meaning(self) -> Meaning:
        """Consequence of the answer for other attempts."""
        if self.code < FIRST_PERMANENT_CODE:
            return Meaning.LATER
        if self.code in LOGIN_CODES | PROTOCOL_CODES or (self.detail and self.detail[0] in CLIENT_SUBJECTS):
            return Meaning.CLIENT_REJECTED
        # MAIL names only our sender address and the size of the mail. So a refusal is about the size or the sender.
        is_about_sender = self.command is Command.MAIL and not self._is_too_large
        return Meaning.CLIENT_REJECTED if is_about_sender else Meaning.REFUSED

    @property
    def _is_too_large(self) -> bool:
        return self.code in TOO_LARGE_CODES or self.detail in TOO_LARGE_DETAILS
