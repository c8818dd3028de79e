"""Pages of the console: one module or package per topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.pages import api, journeys, now, search
from console.pages.contracts import method, reasons, types
from console.pages.contracts import page as contracts
from console.pages.keys import page as keys
from console.pages.logs import page as logs
from console.pages.mail import page as mail
from console.pages.map import page as call_map
from console.pages.outbox import message as outbox_message
from console.pages.outbox import page as outbox
from console.pages.traces import page as traces

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
    # The addresses of `contracts` and `method` have parameters that would also match those of the modules before them.
    types,
    reasons,
    contracts,
    method,
)
