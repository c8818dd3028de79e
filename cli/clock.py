"""`solo60 clock`: show the time of a mesh that was started with `solo60 up --clock`, and move it forward."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.durations import parse_duration
from cli.operator import operator_settings
from cli.terminal import CommandError, JsonFlag, err, out, print_facts, print_json
from contracts.names import short_name
from contracts.services import SERVICE_NAMES
from local.advance import Advance, OpenWork, Step
from local.movable_clock import only_mover_of, require_movable_clock
from mesh.config import load_settings
from mesh.serving.channel import Channels
from mesh.serving.keyring_file import own_key
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from mesh.clock import MovableClock
    from mesh.config import Settings

clock = typer.Typer(help="Show or move the time of a mesh started with `solo60 up --clock`.", no_args_is_help=True)


@clock.command()
def show(*, as_json: JsonFlag = False) -> None:
    """Show the time of the running mesh, and how far it is ahead of the system's clock."""
    found = require_movable_clock(load_settings())
    facts = {
        "now": found.now().isoformat(timespec="seconds"),
        "ahead": str(timedelta(seconds=round(found.offset.total_seconds()))),
    }
    print_facts(facts, as_json=as_json)


# "-31d" is an argument with a clear error, not an unknown option.
@clock.command(context_settings={"ignore_unknown_options": True})
def advance(
    duration: Annotated[str, typer.Argument(metavar="DURATION", help="How far, such as 90m, 12h, 31d or 1w.")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Move the time of the running mesh forward, and print the work of each time on the way.

    The clock stops at each time at which work is due, until the work is done. Work that fails is reported at the end.
    """
    if duration.startswith("-"):
        raise CommandError(f"DURATION: {duration} is negative, and a clock cannot be moved back.")
    by = parse_duration("DURATION", duration)
    steps: list[Step] = []

    def show_step(step: Step) -> None:
        steps.append(step)
        if not as_json:
            out.print(f"{_moment(step.time)}  {_work_of(step)}", markup=False)

    with only_mover_of(require_movable_clock(load_settings())) as moved:
        left = asyncio.run(_advance(moved, by, show_step))
        now = moved.now()
    if as_json:
        print_json({"now": now.isoformat(), "steps": [_step_as_json(each) for each in steps], "open": left.sentences()})
    else:
        out.print(f"{_moment(now)}  now", markup=False)
    for sentence in left.sentences():
        err.print(sentence, style="yellow", markup=False)


async def _advance(moved: MovableClock, by: timedelta, on_step: Callable[[Step], None]) -> OpenWork:
    settings = operator_settings()
    async with advance_of(settings, moved, on_step) as run:
        await run.run(by)
        return run.open


@asynccontextmanager
async def advance_of(
    settings: Settings, moved: MovableClock, on_step: Callable[[Step], None]
) -> AsyncIterator[Advance]:
    """Yield an advance of the mesh's clock, with channels of its own to the services."""
    async with AsyncExitStack() as stack:
        outboxes = {}
        for name in SERVICE_NAMES:
            channels = Channels(settings, own_key(settings))
            stack.push_async_callback(channels.close)
            outboxes[name] = channels.stub(OutboxServiceStub, at=name)
        yield Advance(moved, outboxes, on_step)


def _moment(time: datetime) -> str:
    return f"{time:%a %Y-%m-%d %H:%M:%S} UTC"


def _work_of(step: Step) -> str:
    counts = (f"{count} {short_name(name)}" for name, count in step.delivered.items())
    return ", ".join([*counts, *step.timers])


def _step_as_json(step: Step) -> dict[str, object]:
    return {"time": step.time.isoformat(), "delivered": step.delivered, "timers": step.timers}
