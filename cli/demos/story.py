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

from cli.terminal import CommandError

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
        """First two paragraphs after the salutation."""
        return "\n".join(self.mail.body.removesuffix("Solo60\n").strip().split("\n\n")[1:3])

    @property
    def code(self) -> str:
        """The code that stands alone in a line; raises CommandError if there is none."""
        return self._first(r"(?m)^ {4}(\S+)$", "a code")

    def value_of(self, label: str) -> str:
        """Return the value after a label, as in "Offer:  0198..."; raise CommandError if there is none."""
        return self._first(rf"(?m)^ +{label}: +(.+)$", label)

    def _first(self, pattern: str, name: str) -> str:
        found = re.search(pattern, self.mail.body)
        if found is None:
            raise CommandError(f"The mail {self.mail.subject!r} does not contain {name}.")
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
