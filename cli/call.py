"""`solo60 call`: one call of any method, with JSON input and output."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from opentelemetry import trace

from cli.operator import operator_channels, operator_settings
from cli.terminal import CommandError, err, print_json
from contracts.errors import DeadlineExceeded, ServiceError
from interceptors.tracing.span_attributes import tracer_of
from operations.calls import ledger_of, message_as_dict, parse_request, service_error_as_json, stub_of
from operations.method_names import find_by_name

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.chain.untyped import AnyCall


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
    async with operator_channels(settings) as channels:
        invoke = getattr(stub_of(channels, method), method.name)
        with tracer_of(trace.get_tracer_provider(), "solo60.cli").start_as_current_span("call") as span:
            rpc = invoke(request, timeout=options.timeout_s, metadata=options.metadata)
            show_ledger = options.ledger
            try:
                if method.response_streaming:
                    async for response in rpc:
                        _print(response, None)
                else:
                    _print(await rpc, None if options.as_json else 2)
            except DeadlineExceeded:
                show_ledger = show_ledger or not options.as_json
                raise
            finally:
                if show_ledger:
                    await _print_ledger(rpc)
                if sys.stderr.isatty():
                    err.print(f"trace {span.get_span_context().trace_id:032x}", style="dim")


async def _print_ledger(rpc: AnyCall) -> None:
    for hop in await ledger_of(rpc):
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
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f'--metadata: "{text}" must have the form name=value.')
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(?<!-bin)", name) or not re.fullmatch(r"[ -~]*", value):
        raise CommandError(
            f'--metadata: header "{name}" is invalid. The name may contain letters, digits, "-", "_" and ".", and must '
            'not end in "-bin"; the value must be printable ASCII.'
        )
    return name.lower(), value


def _print(message: Message, indent: int | None) -> None:
    print_json(message_as_dict(message), indent)
    sys.stdout.flush()
