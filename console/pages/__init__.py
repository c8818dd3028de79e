"""Pages of the console: one module per topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.pages import map as call_map
from console.pages import now

if TYPE_CHECKING:
    from types import ModuleType

# A module's pages are marked with `page`. Its other routes, if any, are functions of the console in `ROUTES`.
MODULES: tuple[ModuleType, ...] = (now, call_map)
