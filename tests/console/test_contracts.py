"""Pages of the contracts: the catalogue, one method, and calls of real services."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from local.keys import OPERATOR
from tests.support.browser import take_screens
from tests.system.test_booking import FIRST_HOUR, client_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

EDITOR = "Request as JSON"


def booking_of(mesh: LocalMesh) -> dict[str, object]:
    """Create a member with credits and a gym; return a valid request for one of its hours."""

    async def prepare() -> dict[str, object]:
        async with client_of(mesh) as client:
            gym_id, (user,) = await client.gym(), await client.join(1)
            end = FIRST_HOUR + timedelta(hours=1)
            period = {"start_time": FIRST_HOUR.isoformat(), "end_time": end.isoformat()}
            return {
                "user_id": user.user_id,
                "gym_id": gym_id,
                "period": period,
                "payment_method": {"credits": {}},
            }

    # Playwright's loop runs in this thread.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, prepare()).result()


def fill(page: Page, request: object) -> None:
    """Write a request into the editor."""
    page.get_by_label(EDITOR).fill(request if isinstance(request, str) else json.dumps(request, indent=2))


def call(page: Page, *, confirm: bool = False) -> None:
    """Press the button that calls, and confirm if the method may change data."""
    page.get_by_role("button", name="Call", exact=True).click()
    if confirm:
        page.get_by_role("dialog").get_by_role("button", name="Call", exact=True).click()


def test_the_search_finds_a_method(visitor: Visitor) -> None:
    """The list shrinks as the reader types, and its address leads a colleague to the same list."""
    page = visitor.open("/internal/docs")
    link = page.get_by_role("link", name="session.BookSession", exact=True)
    page.get_by_label("Search contracts").fill("books slot")
    expect(page.get_by_role("link", name="gym.GetGym")).to_have_count(0)
    expect(link).to_have_attribute("href", "/internal/docs/session/BookSession")
    expect(page).to_have_url(f"{visitor.base}/internal/docs?q=books+slot")
    page.reload()
    expect(page.get_by_label("Search contracts")).to_have_value("books slot")
    expect(page.get_by_role("link", name="gym.GetGym")).to_have_count(0)
    page.get_by_role("button", name="Errors").click()
    expect(page.get_by_role("status").filter(has_text="Nothing matches")).to_be_visible()
    visitor.go(page, "/internal/docs?kind=error&q=slot_taken")
    page.get_by_role("link", name="SLOT_TAKEN").click()
    expect(page.get_by_role("link", name="session.BookSession")).to_be_visible()
    visitor.go(page, "/internal/docs/gym")
    take_screens(page, "contracts-service")


@pytest.mark.parametrize("path", ["/{}", "?q={}", "/types/{}", "/errors/{}", "/session/{}"])
def test_an_address_with_hostile_text_is_harmless(visitor: Visitor, path: str) -> None:
    """The page shows the text as text, and runs no script in it."""
    hostile = "<img src=x onerror=alert(1)>'\"\\"
    page = visitor.open(f"/internal/docs{path.format(quote(hostile, safe=''))}")

    expect(page.get_by_role("main").get_by_role("status").first).to_be_visible()
    assert page.locator("img[src=x]").count() == 0


def test_a_method_has_everything_that_a_caller_needs(visitor: Visitor) -> None:
    """The page shows comment, rules, errors, policy, callers and callees; without a key, nobody calls."""
    page = visitor.open("/internal/docs/session/CancelSession")
    main = page.get_by_role("main")
    for text in (
        "Cancels a session before it starts",
        "SESSION_NOT_CANCELLABLE",
        "criticality",
        "payment.RefundSession",
    ):
        expect(main.get_by_text(text).first).to_be_visible()
    expect(page.get_by_role("row").filter(has=page.get_by_text("session_id", exact=True)).first).to_contain_text("uuid")
    expect(page.get_by_role("button", name="Call", exact=True)).to_be_disabled()
    expect(main.get_by_text("Sign in with a key that has the scope session.write.")).to_be_visible()
    expect(page.locator(".try").get_by_role("link", name="Sign in")).to_have_attribute(
        "href", "/login?next=%2Finternal%2Fdocs%2Fsession%2FCancelSession"
    )
    visitor.go(page, "/internal/docs/types/solo60.user.v1.UserLeft")
    for text in ("publisher", "Subscribers", "session.OnUserLeft"):
        expect(main.get_by_text(text).first).to_be_visible()
    take_screens(page, "contracts-event")
    visitor.go(page, "/internal/docs/types/solo60.session.v1.SessionStatus")
    expect(main.get_by_text("SESSION_STATUS_CONFIRMED")).to_be_visible()
    visitor.go(page, "/internal/docs/session/NoSuchMethod")
    expect(main.get_by_text('There is no method "session.NoSuchMethod".')).to_be_visible()


def test_a_reader_books_a_session(operator: Visitor, console_mesh: LocalMesh) -> None:
    """The page asks before it calls, and shows the answer, the time of each service, and the trace."""
    page = operator.open("/internal/docs/session/BookSession")
    request = booking_of(console_mesh)
    fill(page, request)
    call(page, confirm=True)

    outcome = page.get_by_label("Answer")
    expect(outcome.get_by_text("OK", exact=True)).to_be_visible()
    expect(outcome).to_contain_text('"status": "SESSION_STATUS_CONFIRMED"')
    expect(outcome.get_by_role("row").filter(has_text="payment.ChargeSession")).to_contain_text("ms")
    trace_id = str(outcome.get_by_role("link", name="Trace").get_attribute("href")).rpartition("/")[2]
    take_screens(page, "contracts-method")
    # The same period again, now for another member.
    fill(page, {**request, "user_id": booking_of(console_mesh)["user_id"]})
    page.get_by_label(EDITOR).press("Control+Enter")
    page.get_by_role("dialog").get_by_role("button", name="Call", exact=True).click()
    expect(outcome.get_by_text("SLOT_TAKEN").first).to_be_visible()

    shown = console_mesh.solo60("trace", trace_id)
    assert "BookSession" in shown.stdout, shown.stderr
    log = console_mesh.settings.log_path_of("console").read_text()
    assert '"code":"ALREADY_EXISTS"' in log.replace(": ", ":")
    assert str(request["user_id"]) not in log


def test_a_violation_is_at_its_field(operator: Visitor) -> None:
    """Each invalid field is marked at its line in the editor, with its rule. So is a fault of the JSON."""
    page = operator.open("/internal/docs/session/CheckConflicts")
    period = {"start_time": "2030-01-01T10:00:00Z", "end_time": "2030-01-01T09:00:00Z"}
    fill(page, {"gym_id": "x", "period": period})
    call(page)
    faults = page.locator(".faults")
    expect(faults).to_contain_text("Line 2gym_id")
    expect(faults).to_contain_text("Line 3period")
    expect(page.locator(".editor .mark")).to_have_count(2)
    expect(page.get_by_label("Answer").get_by_text("INVALID_ARGUMENT")).to_have_count(2)
    take_screens(page, "contracts-violation")
    fill(page, '{\n  "gym_id": "x",\n}')
    expect(faults).to_be_empty()
    call(page)
    expect(faults).to_contain_text("Line 3")
    fill(page, {"gym_id": "x", "period": {"start_time": "noon"}})
    call(page)
    expect(faults).to_contain_text("Line 4")
    expect(faults).to_contain_text("timestamp")


def test_a_stream_arrives_live(operator: Visitor, console_mesh: LocalMesh) -> None:
    """Each message is shown when it arrives, until the reader stops the stream."""
    request = booking_of(console_mesh)
    page = operator.open("/internal/docs/session/WatchAvailability")
    window = {"start_time": FIRST_HOUR.isoformat(), "end_time": (FIRST_HOUR + timedelta(days=3)).isoformat()}
    fill(page, {"gym_id": request["gym_id"], "period": window})
    call(page)
    outcome = page.get_by_label("Answer")
    expect(outcome.get_by_text("Message 1 ·")).to_be_visible()
    booked = console_mesh.solo60("call", "session.BookSession", json.dumps(request))
    assert booked.returncode == 0, booked.stderr
    expect(outcome.get_by_text("Message 2 ·")).to_be_visible()
    expect(outcome).to_contain_text('"end_time"')
    take_screens(page, "contracts-stream")
    page.get_by_role("button", name="Stop").click()
    expect(outcome.get_by_text("STOPPED")).to_be_visible()
    expect(page.get_by_role("button", name="Call", exact=True)).to_be_enabled()


def test_the_copied_commands_make_the_call(operator: Visitor, console_mesh: LocalMesh) -> None:
    """The texts for solo60 and buf curl run in a shell as they are, without the key in them."""
    page = operator.open("/internal/docs/gym/ListGyms")
    fill(page, {"page_size": 1})
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Headers").fill('x-note=it\'s a "test" $HOME')
    page.get_by_label("Timeout in seconds").fill("nonsense")
    call(page)
    expect(page.get_by_label("Answer").get_by_text("Timeout in seconds: must be a number")).to_be_visible()
    page.get_by_label("Timeout in seconds").fill("1.5")
    page.get_by_text("The same call as text").click()
    key = console_mesh.settings.key_path_of(OPERATOR).read_text().strip()
    for tool in ("solo60", "buf curl"):
        command = page.get_by_label(tool, exact=True).inner_text()
        ran = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, env=_environment())  # noqa: S602 - the text is for a shell
        assert "gyms" in json.loads(ran.stdout or "{}") or ran.stdout.strip() == "{}", ran.stderr
        assert key not in command
    expect(page.get_by_label("Python", exact=True)).to_contain_text("timeout=1.5")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
