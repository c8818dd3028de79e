"""`solo60 demo`: stories on the running mesh."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from cli.demos.approval import approval as tell_approval
from cli.demos.booking import booking as tell_booking
from cli.demos.cancellation import cancellation as tell_cancellation
from cli.demos.outage import outage as tell_outage
from cli.demos.printing import StoryPrinter, step_as_json
from cli.demos.sign_up import sign_up as tell_sign_up
from cli.demos.stage import Stage
from cli.demos.subscription import subscription as tell_subscription
from cli.operator import operator_channels, operator_settings
from cli.terminal import JsonFlag, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.demos.story import Step, Story

demo = typer.Typer(help="Tell a story on the running mesh.", no_args_is_help=True)


@demo.callback()
def group() -> None:
    """Tell a story on the running mesh: its steps, mails and traces."""


@demo.command()
def booking(*, as_json: JsonFlag = False) -> None:
    """Book an hour; show its mails and trace, and how a repeated booking and a call without a key are rejected."""
    run(tell_booking, as_json=as_json)


@demo.command()
def cancellation(*, as_json: JsonFlag = False) -> None:
    """Cancel a session; show the refund, the mail to the guest, and the offer to a waiting member."""
    run(tell_cancellation, as_json=as_json)


@demo.command()
def approval(*, as_json: JsonFlag = False) -> None:
    """Book a gym that requires approval; approve one booking, and reject and refund another."""
    run(tell_approval, as_json=as_json)


@demo.command()
def subscription(*, as_json: JsonFlag = False) -> None:
    """Move the clock of a mesh started with --clock through two months of a subscriber, with a blocked card."""
    run(tell_subscription, as_json=as_json)


@demo.command()
def sign_up(*, as_json: JsonFlag = False) -> None:
    """Sign up, confirm the address, set a new password, and notice a stolen token."""
    run(tell_sign_up, as_json=as_json)


@demo.command()
def outage(*, as_json: JsonFlag = False) -> None:
    """Suspend and kill services of this mesh during bookings; show late mail, and a booking that is undone."""
    run(tell_outage, as_json=as_json)


def run(story: Story, *, as_json: bool) -> None:
    """Tell a story on the running mesh; print each step when it is done, or all steps as JSON."""
    if as_json:
        steps: list[Step] = []
        asyncio.run(tell(story, steps.append))
        print_json({"steps": [step_as_json(each) for each in steps]})
    else:
        asyncio.run(tell(story, StoryPrinter().print))


async def tell(story: Story, on_step: Callable[[Step], None]) -> None:
    """Tell a story on the running mesh, and call `on_step` after each step.

    Raises ServiceError or CommandError if a step does not give the expected result.
    """
    settings = operator_settings()
    async with operator_channels(settings) as channels:
        async for step in story(Stage(settings, channels)):
            on_step(step)
