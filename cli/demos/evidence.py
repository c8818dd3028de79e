"""Evidence of a story: the mails of its people, and the traces of its calls."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace

from cli.demos.story import ReceivedMail
from cli.demos.waiting import until
from cli.terminal import CommandError
from cli.trace import is_complete_trace
from interceptors.tracing.span_attributes import tracer_of
from local.mail_sink import read_mails
from local.supervised_settings import mail_sink_port
from mesh.telemetry.spans import read_trace
from operations.texts import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from cli.demos.story import Person
    from mesh.config import Settings
    from mesh.telemetry.spans import StoredSpan


class Inbox:
    """Mails of a story's people in the mail sink of the mesh. Each mail is returned once."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.inbox_folder
        self._is_readable = mail_sink_port(settings) is not None
        self._shown: set[str] = set()

    def require_readable(self) -> None:
        """Raise CommandError if an external mail server gets the mails of the mesh."""
        if not self._is_readable:
            raise CommandError(
                "SMTP_URL: this demo reads its mails, but an external mail server gets them. Start the mesh without "
                "SMTP_URL."
            )

    async def wait_for(self, person: Person, number: int = 1, *, about: str = "") -> tuple[ReceivedMail, ...]:
        """Wait until a person has at least `number` new mails that contain `about`; return them, the newest last.

        Returns nothing if an external mail server gets the mails. Raises CommandError if they do not arrive.
        """
        if not self._is_readable:
            return ()

        async def unseen() -> list[ReceivedMail]:
            return self._unseen(person, about)

        expected = f"{counted(number, 'mail')} to {person.name}"
        found = await until(unseen, lambda found: len(found) >= number, expected)
        self._shown |= {each.mail.message_id for each in found}
        return tuple(found)

    def _unseen(self, person: Person, about: str) -> list[ReceivedMail]:
        return [
            ReceivedMail(person, mail)
            for mail in read_mails(self._folder)
            if mail.recipient == person.email and mail.message_id not in self._shown and about in mail.body
        ]


@contextmanager
def traced(story: str) -> Iterator[str]:
    """Trace the calls of a block as `demo STORY`; yield the id of the trace."""
    tracer = tracer_of(trace.get_tracer_provider(), "solo60.cli")
    with tracer.start_as_current_span(f"demo {story}") as span:
        yield f"{span.get_span_context().trace_id:032x}"


async def spans_of(settings: Settings, trace_id: str, services: Collection[str]) -> tuple[StoredSpan, ...]:
    """Wait until a trace is complete and has passed through `services`; return its spans."""
    expected = {"solo60", *services}

    async def spans() -> list[StoredSpan]:
        return read_trace(settings.local_span_dir, trace_id)

    found = await until(
        spans,
        lambda found: {span.service for span in found} >= expected and is_complete_trace(found),
        f"a complete trace {trace_id} through {', '.join(sorted(expected))}",
    )
    return tuple(found)
