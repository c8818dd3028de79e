from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import TimeoutError, expect  # noqa: A004 - Playwright's own

from tests.support.browser import take_screens

if TYPE_CHECKING:
    from playwright.sync_api import WebSocketRoute

    from tests.support.browser import Visitor

pytestmark = pytest.mark.system


def test_the_slash_key_focuses_the_search(visitor: Visitor) -> None:
    """The key "/" moves the focus to the search, and is text while the reader types."""
    page = visitor.open("/")
    page.keyboard.press("/")
    search = page.get_by_role("search").get_by_label("Search")

    expect(search).to_be_focused()
    page.keyboard.type("a/b")
    expect(search).to_have_value("a/b")


def test_no_button_can_be_pressed_before_the_page_is_connected(operator: Visitor) -> None:
    """A call is made with the request that the reader sees, although the page took long to connect."""
    held: list[WebSocketRoute] = []
    page = operator.context.new_page()
    page.route_web_socket("**/*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright needs a function
    page.goto(f"{operator.base}/internal/docs/gym/GetGym")
    page.get_by_label("Request as JSON").fill('{"gym_id": "none"}')
    button = page.get_by_role("button", name="Call", exact=True)
    with pytest.raises(TimeoutError):
        button.click(timeout=500)

    held[0].connect_to_server()
    button.click()
    expect(page.locator(".faults")).to_contain_text("gym_id")


def test_a_theme_stays_after_a_reload(visitor: Visitor) -> None:
    """The button changes the theme, and the browser remembers it."""
    page = visitor.open("/")
    page.get_by_role("button", name="Dark or light").click()
    dark = page.locator("body.body--dark")

    expect(dark).to_have_count(1)
    page.reload()
    expect(dark).to_have_count(1)


def test_a_reader_signs_in_and_out(operator: Visitor) -> None:
    """A signed-in reader sees their caller name, and signs out with one click."""
    page = operator.open("/")
    page.get_by_role("button", name="operator: sign out").click()

    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_a_wrong_key_is_refused_at_its_field(visitor: Visitor) -> None:
    """The field shows that a key is not valid."""
    page = visitor.open("/login?next=/logs")
    page.get_by_label("API key").fill("sk_dev_wrong")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_text("This is not a valid key of this mesh.")).to_be_visible()
    take_screens(page, "login")
