"""Live list of log lines, which the browser draws by itself: the server holds no element per line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nicegui import ui

from console.widgets import LEVEL_TONES
from contracts.names import short_name
from operations.addresses import page_address
from operations.logs.filter import headline, is_call, other_facts, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nicegui.events import GenericEventArguments

    from local.log_reader import LogLine

COMPONENT = Path(__file__).parents[2] / "static" / "log_lines.js"
# Longest texts that are sent to a browser, in characters: of one value, and of one line in the list.
MAX_VALUE = 10_000
MAX_SUMMARY = 600
# Ids that only an open row shows in full.
LONG_IDS = frozenset({"correlation_id", "span_id", "trace_id"})


class LogLines(ui.element, component=COMPONENT):
    """List of log lines, without lines at first. `on_live` is called when the reader pauses or continues it."""

    def __init__(self, empty: str, hint: str, on_live: Callable[[bool], None]) -> None:
        super().__init__()
        self.props["empty"] = empty
        self.props["hint"] = hint
        self.on("live", lambda event: on_live(_is_true(event)))

    def add(self, lines: Collection[LogLine], dropped: int = 0) -> None:
        """Add lines at the end; `dropped` lines before them are missing."""
        self.run_method("add", [row_of(line) for line in lines], dropped)

    def wait(self, number: int) -> None:
        """Show how many lines wait for the end of a pause."""
        self.run_method("wait", number)


def _is_true(event: GenericEventArguments) -> bool:
    return event.args is True or event.args == [True]


def row_of(line: LogLine) -> dict[str, object]:
    """Return one line as the list shows it. All values are text without control characters."""
    facts = line.facts
    level = str(facts.get("level", ""))
    row: dict[str, object] = {
        "time": shown(line.timestamp[:23].replace("T", " ")),
        "service": shown(line.service),
        "level": shown(level),
        "tone": LEVEL_TONES.get(level, ""),
        "event": shown(headline(line), MAX_SUMMARY),
        "summary": shown(_summary_of(other_facts(line)), MAX_SUMMARY),
        "exception": "\n".join(map(printable, str(facts.get("exception", ""))[:MAX_VALUE].splitlines())),
        "facts": [(shown(name), shown(value)) for name, value in shown_facts(line).items()],
        "correlation": shown(line.correlation_id),
        "logs": page_address("logs", correlation=line.correlation_id) if line.correlation_id else "",
        "traces": page_address("traces", id=line.correlation_id) if line.correlation_id else "",
    }
    if is_call(line):
        method = str(facts["method"])
        row |= {"event": shown(short_name(method)), "title": shown(method), "code": shown(str(facts.get("code", "")))}
        row["duration"] = shown(f"{facts['duration_ms']} ms") if "duration_ms" in facts else ""
    return row


def _summary_of(facts: dict[str, str]) -> str:
    # Requests are long, so they come last.
    names = sorted((name for name in facts if name not in LONG_IDS), key=lambda name: name == "request")
    return "  ".join(f"{name}={facts[name][:MAX_SUMMARY]}" for name in names)


def shown_facts(line: LogLine) -> dict[str, str]:
    """Return the facts that an open row shows: all except those that the row itself shows in full."""
    first = {name: str(line.facts[name]) for name in ("timestamp", "method", "logger") if name in line.facts}
    event = {} if is_call(line) else {"event": headline(line)}
    return first | event | other_facts(line)


def shown(text: str, longest: int = MAX_VALUE) -> str:
    """Return a text without control characters, cut after `longest` characters."""
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"
    return printable(cut)
