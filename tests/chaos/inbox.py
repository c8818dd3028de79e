"""Inbox of all members. Each mail is read once, because a run has thousands of mails."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from local.mail_sink import read_mail

if TYPE_CHECKING:
    from pathlib import Path

    from local.mail_sink import Mail

POLL_S = 0.2


class Inbox:
    """Inbox of all members in the folder of a mail sink."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "new"
        self._read: set[str] = set()
        self._mails: defaultdict[str, list[Mail]] = defaultdict(list)
        self._list_after_s = 0.0

    async def wait_for(self, recipient: str, subject: str, timeout_s: float) -> Mail | None:
        """Return the first mail to `recipient` with a subject that begins so; None if none arrives in time."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        while True:
            if loop.time() >= self._list_after_s:
                self._read_new()
                self._list_after_s = loop.time() + POLL_S
            found = [mail for mail in self._mails[recipient] if mail.subject.startswith(subject)]
            if found or loop.time() >= give_up_at:
                return found[0] if found else None
            await asyncio.sleep(POLL_S)

    def _read_new(self) -> None:
        for path in sorted(self._folder.iterdir()):
            if path.name not in self._read:
                self._read.add(path.name)
                mail = read_mail(path)
                self._mails[mail.recipient].append(mail)
