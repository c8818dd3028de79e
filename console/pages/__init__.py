"""Pages of the console: one module per topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.pages import api, journeys, keys, logs, mail, now, outbox, outbox_message, search, traces
from console.pages import map as call_map
from console.pages.contracts import catalogue, method, reasons, types

if TYPE_CHECKING:
    from types import ModuleType

# A module's pages are marked with `page`. Its other routes, if any, are functions of the console in `ROUTES`.
MODULES: tuple[ModuleType, ...] = (
    now,
    call_map,
    search,
    api,
    traces,
    logs,
    outbox,
    outbox_message,
    journeys,
    mail,
    keys,
    # The addresses of `catalogue` and `method` have parameters that would also match those of the modules before them.
    types,
    reasons,
    catalogue,
    method,
)
