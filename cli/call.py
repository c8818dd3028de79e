"""`solo60 call`: one call of any method, with JSON input and output."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.operator import operator_channels, operator_settings
from cli.terminal import CommandError, err, print_json
from contracts.errors import DeadlineExceeded, ServiceError
from operations.calls.requests import InvalidHeader, message_as_dict, parse_header, parse_request, service_error_as_json
from operations.calls.traced_call import CallOptions, TracedCall
from operations.contracts.method_names import find_by_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.deadline.ledger import Hop


@dataclass(frozen=True, slots=True)
class _Options:
    """Options of a call and of its output."""

    metadata: tuple[tuple[str, str], ...]
    timeout_s: float | None
    caller: str | None
    as_json: bool
    ledger: bool


def call(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help='Method, such as "gym.GetGym" or "GymService/GetGym".')
    ],
    request: Annotated[str, typer.Argument(metavar="JSON", help='Request; "-" reads stdin, "@FILE" a file.')] = "{}",
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds. Default: the contract's deadline.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="Header, name=value. May be repeated.")] = None,
    caller: Annotated[str | None, typer.Option("--as", help="Use the key of this caller in DATA_DIR/keys.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print results and errors as one line of JSON.")] = False,
    ledger: Annotated[bool, typer.Option("--ledger", help="Print the time spent per service to stderr.")] = False,
) -> None:
    """Call a method and print its response. A stream prints one JSON object per line."""
    found = find_by_name(method)
    message = parse_request(found, _read(request))
    options = _Options(tuple(map(_header, metadata or ())), timeout, caller, as_json, ledger)
    try:
        asyncio.run(_call(found, message, options))
    except ServiceError as error:
        if not as_json:
            raise  # `cli.main` prints the error and advice
        sys.stdout.write(json.dumps({"error": service_error_as_json(error)}) + "\n")
        raise typer.Exit(1) from None


async def _call(method: Method, request: Message, options: _Options) -> None:
    settings = operator_settings(options.caller)
    made = TracedCall(method, request, CallOptions(options.metadata, options.timeout_s))
    indent = None if options.as_json or method.response_streaming else 2
    show_ledger = options.ledger
    async with operator_channels(settings) as channels:
        try:
            await made.run(channels, "solo60.cli", lambda response: _print(response, indent))
        except DeadlineExceeded:
            show_ledger = show_ledger or not options.as_json
            raise
        finally:
            if show_ledger:
                _print_ledger(made.ledger)
            if sys.stderr.isatty():
                err.print(f"trace {made.trace_id}", style="dim")


def _print_ledger(ledger: Sequence[Hop]) -> None:
    for hop in ledger:
        measured = "" if hop.sent_ledger else " (measured by its caller: no answer)"
        err.print(f"{'  ' * hop.depth}{hop.method} took {hop.spent_ms} of {hop.allowed_ms} ms{measured}", markup=False)


def _read(text: str) -> str:
    if text != "-" and not text.startswith("@"):
        return text
    try:
        return sys.stdin.read() if text == "-" else Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        name = "Standard input" if text == "-" else text[1:]
        raise CommandError(f"{name} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8 text')}.") from None


def _header(text: str) -> tuple[str, str]:
    try:
        return parse_header(text)
    except InvalidHeader as error:
        raise CommandError(f"--metadata: {error}") from None


def _print(message: Message, indent: int | None) -> None:
    print_json(message_as_dict(message), indent)
    sys.stdout.flush()
