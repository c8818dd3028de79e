"""Stories: what a demo tells, step by step.

A story is an async generator. It makes the calls of a step and yields the step, so that the step is printed before the
next one begins, and a program can act between two steps:

    async def booking(stage: Stage) -> AsyncIterator[Step]:
        session = await stage.book(member, gym)
        yield stage.step("booked", "Dana books an hour.", {"status": "confirmed"})
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.demos.stage import Stage
    from local.mail_sink import Mail
    from mesh.telemetry.spans import StoredSpan

Fact = str | int | bool | datetime


@dataclass(frozen=True, slots=True)
class Person:
    """Person in a story. A guest has no user id."""

    name: str
    email: str
    user_id: str = ""

    @property
    def first_name(self) -> str:
        """First name, for sentences."""
        return self.name.split()[0]


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """Mail that a person of the story has received."""

    to: Person
    mail: Mail

    @property
    def gist(self) -> str:
        """First paragraph after the salutation, with the next one if it ends with a colon."""
        paragraphs = self.mail.body.strip().split("\n\n")[1:]
        shown = paragraphs[: 2 if paragraphs and paragraphs[0].endswith(":") else 1]
        return "\n".join(shown)

    @property
    def code(self) -> str:
        """The code that stands alone in a line; raises ValueError if there is none."""
        found = re.search(r"(?m)^ {4}(\S+)$", self.mail.body)
        if found is None:
            raise ValueError(f"the mail {self.mail.subject!r} contains no code")
        return found[1]


@dataclass(frozen=True, slots=True)
class Step:
    """Step of a story: one sentence about what happened, and the facts that a reader can check.

    `name` identifies the step in JSON. `time` is business time. `spans` is the trace of the step's call, or empty.
    """

    name: str
    sentence: str
    time: datetime
    facts: Mapping[str, Fact] = field(default_factory=dict)
    mails: tuple[ReceivedMail, ...] = ()
    spans: tuple[StoredSpan, ...] = ()


Story = Callable[["Stage"], AsyncIterator[Step]]
