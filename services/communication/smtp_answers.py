"""SMTP answers: the meaning of a mail server's refusal, by the command that it answers.

A refusal that speaks of a recipient or of the mail is final for it (RFC 5321, section 4.2.1). One that speaks of us,
such as a missing login, would meet every other mail as well: it must not end this one, and an operator has to act.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

FIRST_FINAL_CODE = 500
# RFC 4954, section 6: a login is missing, wrong, too weak, or needs encryption.
LOGIN_CODES = frozenset({530, 534, 535, 538})
# RFC 5321, section 4.2.2, and RFC 7504: the server does not speak with us as we do.
PROTOCOL_CODES = frozenset({500, 502, 503, 504, 521, 555})
# RFC 3463, section 3: the network and routing (4), security and policy (7).
SUBJECTS_OF_OURS = frozenset({4, 7})
# RFC 5321 and RFC 3463: the mail is larger than the server or the mailbox allows.
TOO_LARGE_CODES = frozenset({552})
TOO_LARGE_DETAILS = frozenset({(2, 3), (3, 4)})
_ENHANCED = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})(?!\S)")


class Command(Enum):
    """The command that an answer is about; DATA includes the mail itself."""

    MAIL = auto()
    RCPT = auto()
    DATA = auto()


class Meaning(Enum):
    """The consequence of a refusal for other attempts."""

    LATER = auto()
    """The same mail may be accepted later."""
    REFUSED = auto()
    """This mail, or this recipient, never will be."""
    TURNED_AWAY = auto()
    """It speaks of us: no mail is accepted until somebody has put that right."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal by a mail server; its text may hold addresses."""

    command: Command
    code: int
    text: str = ""

    @property
    def detail(self) -> tuple[int, int] | None:
        """The subject and detail of the enhanced status code (RFC 3463), if there is one."""
        found = _ENHANCED.match(self.text)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def codes(self) -> str:
        """The codes of the answer, which hold nothing personal: "550 5.7.1"."""
        found = _ENHANCED.match(self.text)
        return f"{self.code} {found[0]}" if found else str(self.code)

    @property
    def meaning(self) -> Meaning:
        """The consequence of the answer for other attempts."""
        if self.code < FIRST_FINAL_CODE:
            return Meaning.LATER
        if self.code in LOGIN_CODES | PROTOCOL_CODES or (self.detail and self.detail[0] in SUBJECTS_OF_OURS):
            return Meaning.TURNED_AWAY
        # Nothing but the sender and the size of the mail is known yet.
        is_about_sender = self.command is Command.MAIL and not self._is_too_large
        return Meaning.TURNED_AWAY if is_about_sender else Meaning.REFUSED

    @property
    def _is_too_large(self) -> bool:
        return self.code in TOO_LARGE_CODES or self.detail in TOO_LARGE_DETAILS
