"""`solo60 logs`: logs of a local mesh in time order, once or continuously."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cli.service_names import require_service
from cli.terminal import CommandError, err, out
from contracts.services import SERVICE_NAMES
from interceptors.access_log import EVENT
from local.log_reader import LogFollower, last_lines, services_with_logs
from mesh.config import load_settings
from mesh.telemetry.log_lines import json_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.log_reader import LogLine

# Short enough to seem immediate, and long enough to use almost no CPU time.
FOLLOW_INTERVAL_S = 0.2
STYLES = {"warning": "yellow", "error": "red", "critical": "red"}
# Fields that have their own place in the line, or the same value in every line of a service.
EXCLUDED_FIELDS = {"timestamp", "service", "level", "event", "exception", "method", "code", "duration_ms", "logger"}


def logs(
    service: Annotated[
        str | None, typer.Argument(metavar="SERVICE", help="Service, such as gym. Default: all.")
    ] = None,
    correlation: Annotated[
        str | None, typer.Option(metavar="ID", help="Show only lines with this correlation id.")
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Number of latest lines to show.")] = 50,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line as JSON.")] = False,
) -> None:
    """Show the services' logs in time order."""
    folder = load_settings().log_folder
    names = services_with_logs(folder)
    if service is not None and service not in names:
        require_service(service)
    if not names and not follow:
        raise CommandError(f"There are no logs in {folder}. Start the mesh with `make run`.")
    if correlation is not None and not correlation.strip():
        raise CommandError("--correlation: the id is blank. Give a correlation id.")
    try:
        for line in _lines(folder, service, (correlation or "").strip(), number, follow=follow):
            _print(line, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _lines(folder: Path, service: str | None, correlation_id: str, number: int, *, follow: bool) -> Iterator[LogLine]:
    with ExitStack() as stack:
        wanted = [service] if service else sorted({*SERVICE_NAMES, *services_with_logs(folder)})
        # Followers start before the history is read, so that a line written in between is not missed.
        followers = [stack.enter_context(closing(LogFollower(folder, name))) for name in wanted] if follow else []
        found = last_lines(folder, wanted, number, correlation_id)
        if not found and not follow:
            err.print("There are no lines with this correlation id." if correlation_id else "There are no lines yet.")
        yield from found
        shown = found
        while followers:
            new = [line for follower in followers for line in follower.new_lines() if line not in shown]
            for line in sorted(new, key=lambda line: line.timestamp):
                if correlation_id in ("", line.correlation_id):
                    yield line
            shown = []
            time.sleep(FOLLOW_INTERVAL_S)


def _print(line: LogLine, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json_line({"service": line.service, **line.facts}).decode())
    else:
        out.print(format_line(line))
        for text in str(line.facts.get("exception", "")).splitlines():
            out.print(Text(f"    {_printable(text)}", style="dim"))
    sys.stdout.flush()


def format_line(line: LogLine) -> Text:
    """Format a line for people: time, service and event, followed by all other fields."""
    facts = line.facts
    level = str(facts.get("level", ""))
    event = str(facts.get("event", ""))
    if event == EVENT and "method" in facts:
        event = f"{facts['method']} {facts.get('code', '')} {facts.get('duration_ms', '')} ms"
    rest = " ".join(f"{name}={value}" for name, value in facts.items() if name not in EXCLUDED_FIELDS)
    return Text.assemble(
        (f"{_printable(line.timestamp[:23])} " if line.timestamp else "", "dim"),
        (_printable(line.service).ljust(13), "bold"),
        " ",
        (f"{_printable(level)} " if level not in ("", "info") else "", STYLES.get(level, "")),
        _printable(event),
        (f"  {_printable(rest)}" if rest else "", "dim"),
    )


def _printable(text: str) -> str:
    """Escape control characters, so that a log line cannot control the terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
