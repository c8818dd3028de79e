from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from local.child import Child
from local.monitor import Monitor
from local.supervisor import Mesh
from mesh.config import Settings

if TYPE_CHECKING:
    from pathlib import Path

# A program that ends at once.
SHORT_LIVED = ("calendar", "2026")


class CrashingMesh(Mesh):
    """Mesh with a single part that ends as soon as it is started."""

    def parts(self) -> tuple[str, ...]:
        """Return the name of the single part."""
        return ("auth",)

    def launch(self) -> None:
        """Start the part in its own process."""
        log = self.settings.log_path_of("auth")
        self._children["auth"] = Child("auth", os.environ, log, SHORT_LIVED)

    async def _restart(self, name: str) -> None:
        assert name == "auth"
        await self._children[name].wait()
        self.launch()


async def test_a_repeatedly_dying_part_is_restarted_at_growing_intervals(tmp_path: Path) -> None:
    """Each pause before the restart of a dying part is twice the previous one, and its length is reported."""
    mesh = CrashingMesh(Settings(_env_file=None, data_dir=tmp_path))  # type: ignore[call-arg]  # of pydantic-settings
    reported: list[str] = []
    pauses: list[float] = []
    paused_four_times = asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            paused_four_times.set()
            await asyncio.Event().wait()

    mesh.launch()
    monitoring = asyncio.create_task(
        Monitor(mesh, lambda sentence, _: reported.append(sentence), pause=pause)._watch_part("auth")
    )
    async with asyncio.timeout(60):
        await paused_four_times.wait()
    monitoring.cancel()
    await asyncio.wait([monitoring])

    assert pauses == [1, 2, 4, 8]
    ended, log = "auth exited with code 0.", f"Its log is {mesh.settings.log_path_of('auth')}."
    exits = [each for each in reported if each != "auth is running again."]
    assert exits == [f"{ended} It restarts in {pause_s} s. {log}" for pause_s in (1, 2, 4, 8)]
    assert reported.count("auth is running again.") == 3
    await mesh._children["auth"].wait()
