"""First page: calm, and with problems that come and go while it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.console.outbox_messages import delete
from tests.support.browser import take_screens
from tests.support.local_mesh import process_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system


def test_a_mesh_without_problems_is_calm(visitor: Visitor, console_mesh: LocalMesh) -> None:
    """The page says in one sentence that nothing is wrong, with a few facts, and so does the command."""
    page = visitor.open("/")

    expect(page.get_by_text("Nothing is wrong. All 7 services are SERVING.")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("7 of 7 SERVING")
    expect(page.locator(".facts")).to_contain_text("0 messages due, 0 dead letters")
    expect(page.get_by_role("list", name="Problems").get_by_role("listitem")).to_have_count(0)
    take_screens(page, "now")
    done = console_mesh.solo60("now")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Nothing is wrong. All 7 services are SERVING.")


def test_problems_come_in_order_of_harm_and_go(
    visitor: Visitor, console_mesh: LocalMesh, dead_letter: Callable[[], str]
) -> None:
    """A dead letter appears, a frozen service appears above it with its command, and both go when they are fixed."""
    message_id = dead_letter()
    page = visitor.open("/")
    problems = page.get_by_role("list", name="Problems").get_by_role("listitem")
    expect(problems).to_contain_text(["Messages to communication.SendEmailAsync were given up"])
    expect(problems.get_by_role("link")).to_have_attribute("href", "/outbox?service=session&status=dead")

    gym = process_of(console_mesh, "gym")
    gym.suspend()
    try:
        expect(problems).to_have_count(2, timeout=30_000)
        expect(problems.first).to_contain_text("gym")
        expect(problems.first).to_contain_text("solo60 restart gym")
        expect(problems.first.get_by_role("button", name="Copy")).to_be_visible()
        take_screens(page, "now-problems")
    finally:
        gym.resume()
        delete(console_mesh, message_id)

    expect(page.get_by_text("Nothing is wrong. All 7 services are SERVING.")).to_be_visible(timeout=30_000)
    wait_for(console_mesh.is_serving)


def test_a_killed_service_is_first_with_its_reason(visitor: Visitor, console_mesh: LocalMesh) -> None:
    """A killed service appears with the reason until it runs again."""
    page = visitor.open("/")
    process_of(console_mesh, "subscription").kill()

    first = page.get_by_role("list", name="Problems").get_by_role("listitem").first
    expect(first).to_contain_text("subscription")
    expect(page.get_by_text("Nothing is wrong. All 7 services are SERVING.")).to_be_visible(timeout=30_000)
    wait_for(console_mesh.is_serving)


def test_an_unknown_address_has_a_page(visitor: Visitor) -> None:
    """An unknown address answers 404 with a sentence and a link, in the frame of all pages."""
    visitor.expected.append("404 (Not Found)")
    page = visitor.context.new_page()
    answer = page.goto(f"{visitor.base}/no/such/page")

    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_text("There is no page at this address.")).to_be_visible()
    expect(page.get_by_role("link", name="Now: what is wrong in the mesh")).to_have_attribute("href", "/")
