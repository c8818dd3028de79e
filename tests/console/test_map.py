from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.browser import take_screens
from tests.support.local_mesh import process_of, wait_for

if TYPE_CHECKING:
    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

CALLER_OF_GYM = "session to gym.QuotePrice"


def test_numbers_appear_after_calls(visitor: Visitor, console_mesh: LocalMesh) -> None:
    """Calls show as numbers on their edges and in the table within some seconds, without a reload."""
    page = visitor.open("/map")
    picture, table = page.locator("svg.map"), visitor.open("/map?view=table&show=busy&of=gym&sort=calls")
    expect(picture.get_by_label(CALLER_OF_GYM)).to_have_count(1)
    expect(page.get_by_text("Numbers of the last")).to_be_visible()

    assert console_mesh.solo60("demo", "booking").returncode == 0

    expect(picture.locator("g.busy text.numbers", has_text=re.compile(r"/s.*ms")).first).to_be_visible()
    row = table.get_by_role("row").filter(has=table.get_by_role("link", name="gym.QuotePrice", exact=True))
    expect(row).to_contain_text("session")
    expect(row).to_contain_text(re.compile(r"\d/s"))
    take_screens(page, "map")
    take_screens(table, "map-table")


def test_an_edge_shows_the_policy_of_its_method(visitor: Visitor) -> None:
    """A click on an edge shows its method's policy and links, at an address of its own."""
    page = visitor.open("/map")
    page.get_by_label(CALLER_OF_GYM).focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name="Details")

    expect(panel.get_by_role("heading", name="session → gym.QuotePrice")).to_be_visible()
    expect(panel.get_by_text("NO_SIDE_EFFECTS")).to_be_visible()
    assert page.url.endswith("/map?edge=session:gym.QuotePrice")
    assert panel.get_by_role("link", name="Contract").get_attribute("href") == "/internal/docs/gym/QuotePrice"
    take_screens(page, "map-edge")


def test_a_method_shows_the_budget_of_each_path(visitor: Visitor) -> None:
    """The panel about a method has everything that it reaches, with the deadline on each path."""
    page = visitor.open("/map")
    page.get_by_label("Method").fill("session.BookSession")
    page.get_by_role("button", name="Show its paths").click()
    panel = page.get_by_role("complementary", name="Details")

    expect(panel.get_by_role("listitem").filter(has_text="payment.ChargeSession").first).to_contain_text(
        re.compile(r"payment\.ChargeSession \d+ s")
    )
    take_screens(page, "map-method")
    visitor.go(page, "/map?method=gym.Nothing")
    expect(page.get_by_text('There is no method "gym.Nothing".')).to_be_visible()


def test_a_killed_service_turns_red_and_recovers(visitor: Visitor, console_mesh: LocalMesh) -> None:
    """A service that is down is red and named, its edges without readable ends say so, and all of it goes away."""
    page = visitor.open("/map")
    gym = page.locator("#s-gym")
    expect(gym).to_have_class("service good")
    stopped = process_of(console_mesh, "gym")
    stopped.suspend()
    try:
        expect(gym).to_have_class("service bad")
        expect(page.get_by_role("status").filter(has_text="gym is UNREACHABLE")).to_be_visible()
        take_screens(page, "map-down")
    finally:
        stopped.resume()
        stopped.kill()

    wait_for(console_mesh.is_serving)
    expect(gym).to_have_class("service good")
    expect(page.get_by_text("gym is UNREACHABLE")).to_have_count(0)
