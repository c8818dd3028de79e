"""`solo60 demo`: demonstrations on a running mesh."""

from __future__ import annotations

import asyncio
from datetime import UTC

import typer
from rich.panel import Panel

from cli.booking_demo import BookingDemo, BookingResult
from cli.operator import operator_channels, operator_settings
from cli.terminal import JsonFlag, out, print_json, service_error_as_json
from cli.trace import span_label, trace_tree
from solo60.session.v1.session_pb2 import SessionStatus

demo = typer.Typer(help="Run a demonstration on the running mesh.", no_args_is_help=True)


@demo.callback()
def group() -> None:
    """Run a demonstration on the running mesh."""


@demo.command()
def booking(*, as_json: JsonFlag = False) -> None:
    """Book a free hour; show its mails and trace, and how a repeated booking and a call without a key are rejected."""
    result = asyncio.run(_run())
    if as_json:
        print_json(_summary(result))
    else:
        print_booking(result)


async def _run() -> BookingResult:
    settings = operator_settings()
    async with operator_channels(settings) as channels:
        return await BookingDemo(settings, channels).run()


def print_booking(result: BookingResult) -> None:
    """Print the result of the demo."""
    period = result.session.period
    start, end = (time.ToDatetime(UTC) for time in (period.start_time, period.end_time))
    out.print("[bold]A member books an hour and pays with credits[/]")
    out.print(f"  {result.gym.name}, {start:%A %d %B %Y, %H:%M} to {end:%H:%M} UTC, {result.session.credits} credits")
    out.print(f"  {SessionStatus.Name(result.session.status)}, session {result.session.session_id}\n")
    out.print("[bold]The member gets mail[/]")
    for mail in result.mails:
        panel = Panel(mail.body.strip(), title=mail.subject, title_align="left", width=100)
        out.print(panel, markup=False, soft_wrap=False)
    out.print("\n[bold]One request, every hop[/]")
    out.print(trace_tree(result.spans), soft_wrap=False)
    out.print("\n[bold]The same slot again[/]")
    out.print(f"  [red]{result.same_slot_again.reason_name()}[/] {result.same_slot_again.message}")
    out.print("\n[bold]The same session, read without a key[/]")
    out.print(f"  [red]{result.without_a_key.reason_name()}[/] {result.without_a_key.message}")


def _summary(result: BookingResult) -> dict[str, object]:
    return {
        "user_id": result.member.user_id,
        "gym": result.gym.name,
        "session_id": result.session.session_id,
        "status": SessionStatus.Name(result.session.status),
        "start_time": result.session.period.start_time.ToJsonString(),
        "end_time": result.session.period.end_time.ToJsonString(),
        "credits": result.session.credits,
        "mails": [{"to": mail.recipient, "subject": mail.subject} for mail in result.mails],
        "trace_id": result.spans[0].trace_id,
        "hops": [
            {"service": span.service, "method": span_label(span), "duration_ms": round(span.duration_ms, 2)}
            for span in result.spans
            if span.kind == "SERVER"
        ],
        "same_slot_again": service_error_as_json(result.same_slot_again),
        "without_a_key": service_error_as_json(result.without_a_key),
    }
