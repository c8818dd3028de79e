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
from local.log_follower import LogFollower
from local.log_reader import last_lines, services_with_logs
from mesh.config import load_settings
from mesh.telemetry.log_lines import json_line
from operations.invalid_filter import InvalidFilter
from operations.logs.filter import LogFilter, headline, names_of_logs, other_facts, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.log_reader import LogLine

# Short enough to seem immediate, and long enough to use almost no CPU time.
FOLLOW_INTERVAL_S = 0.2
STYLES = {"warning": "yellow", "error": "red", "critical": "red"}


def logs(  # noqa: PLR0913 - the options of the command
    service: Annotated[
        str | None, typer.Argument(metavar="SERVICE", help="Service, such as gym. Default: all.")
    ] = None,
    correlation: Annotated[
        str | None, typer.Option(metavar="ID", help="Show only lines with this correlation id.")
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Number of latest lines to show.")] = 50,
    *,
    level: Annotated[str, typer.Option(help="Show only lines of at least this level, such as warning.")] = "",
    text: Annotated[str, typer.Option(help="Show only lines that contain this text, in any case.")] = "",
    method: Annotated[str, typer.Option(help="Show only calls of this method, such as gym.GetGym.")] = "",
    code: Annotated[
        str, typer.Option(help='Show only calls with this code, such as NOT_FOUND, or "failed" for all except OK.')
    ] = "",
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
        wanted = LogFilter.of(level=level, text=text, correlation_id=correlation or "", method=method, code=code)
    except InvalidFilter as error:
        raise CommandError(f"--{error}") from None
    try:
        for line in _lines(folder, service, wanted, number, follow=follow):
            _print(line, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _lines(folder: Path, service: str | None, wanted: LogFilter, number: int, *, follow: bool) -> Iterator[LogLine]:
    with ExitStack() as stack:
        names = [service] if service else names_of_logs(folder)
        followers = {}
        if follow:
            followers = {name: stack.enter_context(closing(LogFollower(folder, name))) for name in names}
        # The history ends where the followers begin.
        before = {name: follower.position for name, follower in followers.items()}
        found = last_lines(folder, names, number, wanted, before)
        if not found and not follow:
            err.print(_reason_for_no_lines(wanted))
        yield from found
        while followers:
            new = [line for follower in followers.values() for line in follower.new_lines() if wanted.matches(line)]
            yield from sorted(new, key=lambda line: line.timestamp)
            time.sleep(FOLLOW_INTERVAL_S)


def _reason_for_no_lines(wanted: LogFilter) -> str:
    if wanted == LogFilter():
        return "There are no lines yet."
    if wanted == LogFilter(correlation_id=wanted.correlation_id):
        return "There are no lines with this correlation id."
    return "No line matches these options."


def _print(line: LogLine, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json_line({"service": line.service, **line.facts}).decode())
    else:
        out.print(format_line(line))
        for text in str(line.facts.get("exception", "")).splitlines():
            out.print(Text(f"    {printable(text)}", style="dim"))
    sys.stdout.flush()


def format_line(line: LogLine) -> Text:
    """Format a line for people: time, service and event, followed by all other fields."""
    level = str(line.facts.get("level", ""))
    rest = " ".join(f"{name}={text}" for name, text in other_facts(line).items())
    return Text.assemble(
        (f"{printable(line.timestamp[:23])} " if line.timestamp else "", "dim"),
        (printable(line.service).ljust(13), "bold"),
        " ",
        (f"{printable(level)} " if level not in ("", "info") else "", STYLES.get(level, "")),
        printable(headline(line)),
        (f"  {printable(rest)}" if rest else "", "dim"),
    )
