"""Pages while a service is frozen: it accepts connections and does not answer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.browser import take_screens
from tests.support.local_mesh import process_of, wait_for
from tests.support.suspension import suspended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system


@contextmanager
def frozen(mesh: LocalMesh, service: str) -> Iterator[None]:
    """Suspend the process of a service while the context is open."""
    try:
        with suspended(process_of(mesh, service)):
            yield
    finally:
        wait_for(mesh.is_serving)


def test_a_frozen_service_hides_no_page(visitor: Visitor, console_mesh: LocalMesh) -> None:
    """Every page opens without the frozen service, names it, and shows the others."""
    with frozen(console_mesh, "session"):
        page = visitor.open("/outbox")
        rows = page.get_by_role("row")
        expect(rows.filter(has_text="session").first).to_contain_text("No answer: DEADLINE_EXCEEDED.")
        expect(page.get_by_text("session is missing")).to_be_visible()
        expect(page.get_by_text("There are no dead letters in the outboxes that answered.")).to_be_visible()
        expect(rows.filter(has_text="communication").first).to_contain_text("none")
        take_screens(page, "outbox-frozen")

        visitor.go(page, "/journeys")
        expect(page.get_by_text("session did not answer")).to_be_visible()
        expect(page.get_by_text("Latest bookings and subscriptions")).to_be_visible()

        visitor.go(page, "/map")
        expect(page.locator("svg.map")).to_be_visible()
        expect(page.get_by_text("session is UNREACHABLE. The page Now shows the reason")).to_be_visible()

        visitor.go(page, "/")
        expect(page.get_by_text("in 6 of 7 outboxes; the others cannot be read")).to_be_visible()
