"""`solo60 demo`: demonstrations on a running mesh."""

from __future__ import annotations

import asyncio
from datetime import UTC

import typer
from rich.panel import Panel

from cli.booking_demo import BookingDemo, BookingShown
from cli.operator import operator_channels, operator_settings
from cli.screen import JsonFlag, out, print_json, service_error_as_json
from cli.trace import span_label, trace_tree
from solo60.session.v1.session_pb2 import SessionStatus

demo = typer.Typer(help="Demonstrate the mesh.", no_args_is_help=True)


@demo.callback()
def group() -> None:
    """Demonstrate the mesh."""


@demo.command()
def booking(*, as_json: JsonFlag = False) -> None:
    """Book a free hour; show its mails and trace, and how a repeated booking and a call without a key are rejected."""
    shown = asyncio.run(_run())
    if as_json:
        print_json(_summary(shown))
    else:
        show_booking(shown)


async def _run() -> BookingShown:
    settings = operator_settings()
    async with operator_channels(settings) as channels:
        return await BookingDemo(settings, channels).run()


def show_booking(shown: BookingShown) -> None:
    """Print the result of the demo."""
    period = shown.session.period
    start, end = (time.ToDatetime(UTC) for time in (period.start_time, period.end_time))
    out.print("[bold]A member books an hour and pays with credits[/]")
    out.print(f"  {shown.gym.name}, {start:%A %d %B %Y, %H:%M} to {end:%H:%M} UTC, {shown.session.credits} credits")
    out.print(f"  {SessionStatus.Name(shown.session.status)}, session {shown.session.session_id}\n")
    out.print("[bold]The member gets mail[/]")
    for mail in shown.mails:
        panel = Panel(mail.body.strip(), title=mail.subject, title_align="left", width=100)
        out.print(panel, markup=False, soft_wrap=False)
    out.print("\n[bold]One request, every hop[/]")
    out.print(trace_tree(shown.spans), soft_wrap=False)
    out.print("\n[bold]The same slot again[/]")
    out.print(f"  [red]{shown.same_slot_again.reason_name()}[/] {shown.same_slot_again.message}")
    out.print("\n[bold]The same session, read without a key[/]")
    out.print(f"  [red]{shown.without_a_key.reason_name()}[/] {shown.without_a_key.message}")


def _summary(shown: BookingShown) -> dict[str, object]:
    return {
        "user_id": shown.member.user_id,
        "gym": shown.gym.name,
        "session_id": shown.session.session_id,
        "status": SessionStatus.Name(shown.session.status),
        "start_time": shown.session.period.start_time.ToJsonString(),
        "end_time": shown.session.period.end_time.ToJsonString(),
        "credits": shown.session.credits,
        "mails": [{"to": mail.recipient, "subject": mail.subject} for mail in shown.mails],
        "trace_id": shown.spans[0].trace_id,
        "hops": [
            {"service": span.service, "method": span_label(span), "duration_ms": round(span.duration_ms, 2)}
            for span in shown.spans
            if span.kind == "SERVER"
        ],
        "same_slot_again": service_error_as_json(shown.same_slot_again),
        "without_a_key": service_error_as_json(shown.without_a_key),
    }
