"""Passage of business time in a story: the clock of the mesh is moved, or the story waits."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from cli.clock import advance_of
from cli.terminal import CommandError
from local.control import ControlError
from local.movable_clock import only_mover_of, require_movable_clock
from mesh.clock import MovableClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from cli.demos.stage import Stage
    from local.advance import Advance


class Passage:
    """Movement of the mesh's clock, as by `solo60 clock advance`: each due time on the way has its work done."""

    def __init__(self, clock: MovableClock, advance: Advance) -> None:
        self._clock = clock
        self._advance = advance

    async def to(self, time: datetime) -> None:
        """Move the clock to `time`; raise CommandError if due work is not done."""
        await self._advance.run(max(time - self._clock.now(), timedelta()))
        if open_work := self._advance.open.sentences():
            raise CommandError("\n".join(open_work))

    async def settle(self) -> None:
        """Wait until no work is due; raise CommandError if it is not done."""
        await self.to(self._clock.now())


@asynccontextmanager
async def passage_of(stage: Stage) -> AsyncIterator[Passage]:
    """Yield the passage of time on a mesh with a movable clock, while no other process moves it.

    Raises CommandError if the clock of the mesh cannot be moved.
    """
    try:
        found = require_movable_clock(stage.settings)
    except ControlError:
        raise CommandError(
            "This demo moves the clock of the mesh: stop the mesh, and start it with `solo60 up --clock`."
        ) from None
    with only_mover_of(found) as clock:
        async with advance_of(stage.settings, clock, lambda _step: None) as advance:
            yield Passage(clock, advance)


async def wait(stage: Stage, duration: timedelta) -> None:
    """Let business time pass: move the clock if the mesh has a movable one, else sleep."""
    if not isinstance(stage.clock, MovableClock):
        await stage.clock.sleep(duration.total_seconds())
        return
    async with passage_of(stage) as passage:
        await passage.to(stage.clock.now() + duration)
