"""Pages of the console: one module per topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.pages import now, search
from console.pages.contracts import catalogue, method, reasons, types

if TYPE_CHECKING:
    from types import ModuleType

# A module's pages are marked with `page`. Its other routes, if any, are functions of the console in `ROUTES`.
# The addresses of `catalogue` and `method` have parameters that would also match those of the modules before them.
MODULES: tuple[ModuleType, ...] = (now, search, types, reasons, catalogue, method)
