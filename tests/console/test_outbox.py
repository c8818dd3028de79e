"""Pages of the outboxes: what waits, what failed, and the actions on one message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.console.outbox_messages import RECIPIENT, correct_template, status_of
from tests.support.browser import take_screens, visiting
from tests.support.console_process import running_console
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Locator, Page

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system


def confirm(page: Page, action: str) -> None:
    """Choose an action in the dialog that asks."""
    page.get_by_role("dialog").get_by_role("button", name=action).click()


def row(page: Page, text: str) -> Locator:
    """Return the rows of tables with this text."""
    return page.get_by_role("row").filter(has_text=text)


def test_a_dead_letter_is_retried(operator: Visitor, console_mesh: LocalMesh, dead_letter: Callable[[], str]) -> None:
    """The page groups dead letters by reason, shows one without personal data, and delivers it again after a fix."""
    message_id = dead_letter()
    page = operator.open("/outbox")
    of_group = page.locator("a[href*='status=dead&destination=']")
    group = row(page, "TEMPLATE_NOT_FOUND").filter(has=of_group)
    expect(group).to_contain_text("communication.SendEmailAsync")
    take_screens(page, "outbox")
    group.locator(of_group).click()
    expect(page).to_have_url(re.compile(r"\?service=session&status=dead&destination="))
    page.locator(f"a[href='/outbox/session/{message_id}']").click()

    expect(page.get_by_text('"template_key": "NO_SUCH_TEMPLATE"')).to_be_visible()
    expect(page.get_by_text('"email": "***"')).to_be_visible()
    assert RECIPIENT not in page.content()
    expect(row(page, "message is now a dead letter")).to_contain_text("failed attempts: 1.")
    take_screens(page, "outbox-message")

    correct_template(console_mesh, message_id)
    page.get_by_role("button", name="Retry").click()
    confirm(page, "Retry")
    expect(page.get_by_text("The message is due now.")).to_be_visible()
    expect(page.locator(".badge.good")).to_have_text("DELIVERED")
    expect(page.get_by_role("button", name="Replay")).to_be_enabled()
    expect(row(page, "Retry by operator")).to_be_visible()


def test_a_drop_asks_first(operator: Visitor, console_mesh: LocalMesh, dead_letter: Callable[[], str]) -> None:
    """A message is dropped only after the reader has confirmed it."""
    message_id = dead_letter()
    page = operator.open(f"/outbox/session/{message_id}")

    page.get_by_role("button", name="Drop").click()
    expect(page.get_by_role("dialog")).to_contain_text("Its effect, such as a refund or a mail, does not happen.")
    confirm(page, "Cancel")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert status_of(console_mesh, message_id) == "dead"

    page.get_by_role("button", name="Drop").click()
    confirm(page, "Drop")
    expect(page.get_by_role("status").get_by_text("The message is deleted")).to_be_visible()
    assert status_of(console_mesh, message_id) == ""


def test_all_dead_letters_of_a_service_are_retried(
    visitor: Visitor, console_mesh: LocalMesh, dead_letter: Callable[[], str], request: pytest.FixtureRequest
) -> None:
    """One button retries all dead letters of a service. For a reader without a key, it is off and names the scope."""
    message_ids = [dead_letter(), dead_letter()]
    page = visitor.open("/outbox")
    expect(page.get_by_role("button", name="Retry all of session")).to_be_disabled()
    expect(page.get_by_text("Sign in with a key that has the scope outbox.operate.").first).to_be_visible()
    for message_id in message_ids:
        correct_template(console_mesh, message_id)

    request.getfixturevalue("operator")
    page.reload()
    page.get_by_role("button", name="Retry all of session").click()
    confirm(page, "Retry all of session")

    expect(page.get_by_text("2 messages of session due now.")).to_be_visible()
    expect(page.get_by_text("There are no dead letters.")).to_be_visible()


def test_a_reader_without_a_key_cannot_act(visitor: Visitor, dead_letter: Callable[[], str]) -> None:
    """Without a key, the buttons of a message are off, and the page names the scope that they need."""
    message_id = dead_letter()
    page = visitor.open(f"/outbox/session/{message_id}")

    for name in ("Retry", "Drop"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    expect(page.get_by_text("Sign in with a key that has the scope outbox.operate.").first).to_be_visible()


def test_a_service_that_is_down_hides_no_other(
    browser: Browser, console_mesh: LocalMesh, dead_letter: Callable[[], str]
) -> None:
    """The row of an unreachable service says so, the list names the service, and all other services are shown."""
    message_id = dead_letter()
    (port,) = free_ports(1)
    with (
        running_console(console_mesh, gym_service_url=f"127.0.0.1:{port}") as console,
        visiting(browser, console.base) as visitor,
    ):
        page = visitor.open("/outbox")

        expect(row(page, "gym").first).to_contain_text("No answer: UNAVAILABLE.")
        expect(page.get_by_text("gym is missing")).to_be_visible()
        expect(page.locator(f"a[href='/outbox/session/{message_id}']")).to_be_visible()
        take_screens(page, "outbox-one-down")
        visitor.go(page, "/outbox/gym/00000000-0000-4000-8000-000000000000")
        expect(page.get_by_role("alert")).to_contain_text("UNAVAILABLE")


def test_an_unknown_message_is_an_error_of_the_page(visitor: Visitor) -> None:
    """An unknown id, an id that is none, and an unknown service each give a page with the reason."""
    page = visitor.open("/outbox/session/00000000-0000-4000-8000-000000000000")
    expect(page.get_by_role("alert")).to_contain_text("OUTBOX_MESSAGE_NOT_FOUND")
    visitor.go(page, "/outbox/session/none")
    expect(page.get_by_role("alert")).to_contain_text("message_id")
    visitor.go(page, "/outbox/nobody/none")
    expect(page.get_by_text('"nobody" is not a service.')).to_be_visible()
    visitor.go(page, "/outbox?status=lost")
    expect(page.get_by_text("There is no such service or status.")).to_be_visible()
    visitor.go(page, "/outbox?page=nonsense")
    expect(page.get_by_text("this is not a page of the list")).to_be_visible()
