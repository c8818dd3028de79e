"""Memory and speed of the console's process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import expect

from tests.support.browser import visiting
from tests.support.console_process import running_console

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

MIB = 1024 * 1024
MAX_MIB = 120
# The first page takes 0.3 to 0.6 s. Other tests may use both processors meanwhile.
MAX_FIRST_PAGE_S = 5.0
LOADS = 30


def test_the_console_stays_small(console_mesh: LocalMesh, browser: Browser) -> None:
    """A new console shows its first page fast, and has at most 120 MiB of memory after many loads."""
    with running_console(console_mesh) as console, visiting(browser, console.base) as visitor:
        start_s = time.monotonic()
        page = visitor.open("/")
        expect(page.get_by_text("services are SERVING")).to_be_visible()
        first_page_s = time.monotonic() - start_s

        for _ in range(LOADS):
            visitor.go(page, "/")

        assert first_page_s < MAX_FIRST_PAGE_S
        assert psutil.Process(console.process.pid).memory_info().rss < MAX_MIB * MIB
