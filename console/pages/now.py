"""Page `/`: what is wrong now, in order of harm."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from console import widgets
from console.frame import page
from mesh.serving.health_probe import SERVING

if TYPE_CHECKING:
    from console.frame import View


@page("/", "Now")
async def now(view: View) -> None:
    """Show the state of each service."""
    report, _ = await view.console.health.get()
    widgets.table(
        ("service", "status", "address", "reason"),
        [
            (name, partial(_status, str(entry["status"])), str(entry["address"]), str(entry.get("reason", "")))
            for name, entry in report.items()
        ],
    )


def _status(status: str) -> None:
    widgets.badge(status, "good" if status == SERVING else "bad")
