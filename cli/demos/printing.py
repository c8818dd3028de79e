"""Output of a story: as text for people, or as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.padding import Padding

from cli.demos.wording import ZONE, day, moment
from cli.terminal import out
from cli.trace import trace_tree
from mesh.telemetry.spans import SERVER
from operations.traces.summary import name_label

if TYPE_CHECKING:
    from datetime import date

    from cli.demos.story import Fact, ReceivedMail, Step


class StoryPrinter:
    """Printer of one story's steps, under a heading for each day."""

    def __init__(self) -> None:
        self._day: date | None = None

    def print(self, step: Step) -> None:
        """Print a step."""
        local = step.time.astimezone(ZONE)
        if local.date() != self._day:
            self._day = local.date()
            out.print(f"[bold cyan]{day(step.time)}[/]\n")
        out.print(f"[dim]{local:%H:%M}[/]  [bold]{escape(step.sentence)}[/]")
        facts = {name: _text(fact) for name, fact in step.facts.items()}
        width = max(map(len, facts), default=0)
        for name, text in facts.items():
            out.print(f"       [dim]{name.replace('_', ' '):{width}}[/]  {escape(text)}")
        for mail in step.mails:
            _print_mail(mail)
        if step.spans:
            out.print(Padding(trace_tree(step.spans), (0, 0, 0, 7), expand=False), soft_wrap=False)
        out.print()


def _print_mail(received: ReceivedMail) -> None:
    out.print(f"       [green]✉[/] to {escape(received.to.name)}: [green]{escape(received.mail.subject)}[/]")
    for line in received.gist.splitlines():
        out.print(f"         [dim]{escape(line)}[/]")


def _text(fact: Fact) -> str:
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    return moment(fact) if isinstance(fact, datetime) else str(fact)


def step_as_json(step: Step) -> dict[str, object]:
    """Return a step as a JSON object. Times are in UTC."""
    return {
        "name": step.name,
        "sentence": step.sentence,
        "time": _json_value(step.time),
        "facts": {name: _json_value(fact) for name, fact in step.facts.items()},
        "mails": [_mail_as_json(each) for each in step.mails],
        "trace_id": step.spans[0].trace_id if step.spans else None,
        "hops": [
            {"service": span.service, "method": name_label(span.name), "duration_ms": round(span.duration_ms, 2)}
            for span in step.spans
            if span.kind == SERVER
        ],
    }


def _mail_as_json(received: ReceivedMail) -> dict[str, object]:
    mail = received.mail
    return {
        "to": mail.recipient,
        "subject": mail.subject,
        "text": received.gist,
        "received": _json_value(mail.received),
        "message_id": mail.message_id,
    }


def _json_value(fact: Fact) -> str | int | bool:
    return fact.astimezone(UTC).isoformat() if isinstance(fact, datetime) else fact
