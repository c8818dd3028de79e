"""Search: names and ids of everything in the mesh."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from mesh.telemetry.spans import read_trace
from tests.console.outbox_messages import run_sql
from tests.support.browser import take_screens
from tests.support.local_mesh import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

DELIVERED = """
    select message_id, correlation_id, substring(traceparent, 4, 32)
    from outbox where status = 'delivered' and traceparent <> '' limit 1
"""

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def booked(console_mesh: LocalMesh) -> dict[str, str]:
    """Book a session and return the ids of the session, its payment, its mail, its outbox message and its request."""
    done = console_mesh.solo60("demo", "booking")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: run_sql(console_mesh, "communication", "select message_id from messages limit 1"))
    message, correlation, trace = run_sql(console_mesh, "session", DELIVERED).split(",")
    wait_for(lambda: read_trace(console_mesh.settings.local_span_dir, trace))
    return {
        "session": run_sql(console_mesh, "session", "select session_id from sessions limit 1"),
        "payment": run_sql(console_mesh, "payment", "select payment_id from payments limit 1"),
        "mail": run_sql(console_mesh, "communication", "select message_id from messages limit 1"),
        "outbox": message,
        "correlation": correlation,
        "trace": trace,
    }


def test_the_field_leads_to_a_method(visitor: Visitor) -> None:
    """The name of a method in the header's field leads straight to its page."""
    page = visitor.open("/")
    page.keyboard.press("/")
    page.keyboard.type("gym.getgym")
    page.keyboard.press("Enter")

    expect(page).to_have_url(f"{visitor.base}/internal/docs/gym/GetGym")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("SLOT_TAKEN", "/internal/docs/errors/SLOT_TAKEN"),
        ("solo60.gym.v1.GymService/GetGym", "/internal/docs/gym/GetGym"),
        ("BookSessionRequest", "/internal/docs/types/solo60.session.v1.BookSessionRequest"),
        ("keys", "/keys"),
        ("operator", "/keys?caller=operator"),
    ],
)
def test_one_exact_name_leads_straight_there(visitor: Visitor, query: str, path: str) -> None:
    """A query that is exactly one name is answered with a redirect."""
    assert _redirect(visitor, query) == path


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("session", "/journeys/{}"),
        ("payment", "/journeys/{}"),
        ("mail", "/mail/messages/{}"),
        ("outbox", "/outbox/session/{}"),
        ("trace", "/traces/{}"),
    ],
)
def test_one_id_leads_straight_there(visitor: Visitor, booked: dict[str, str], kind: str, path: str) -> None:
    """An id of a session, payment, mail, outbox message or trace is answered with a redirect."""
    assert _redirect(visitor, booked[kind]) == path.format(booked[kind])


def test_a_correlation_id_leads_to_traces_and_logs(visitor: Visitor, booked: dict[str, str]) -> None:
    """The correlation id of a request finds its traces and its log lines."""
    page = _results(visitor, booked["correlation"])

    expect(page.locator(f'a[href="/traces/{booked["correlation"]}"]')).to_be_visible()
    expect(page.locator(f'a[href="/logs?correlation={booked["correlation"]}"]')).to_be_visible()


def test_words_find_pages_services_and_comments(visitor: Visitor) -> None:
    """Words find names and comments, and a name with several meanings leads to a list with exact ones first."""
    page = _results(visitor, "session")

    expect(page.locator("tbody tr").first).to_contain_text("session")
    expect(page.locator('main a[href="/internal/docs/session"]')).to_be_visible()
    expect(page.locator('main a[href="/keys?caller=session"]')).to_be_visible()
    expect(page.get_by_role("search").get_by_label("Search")).to_have_value("session")
    take_screens(page, "search")
    expect(_results(visitor, "double booking").get_by_text("Nothing matches double booking.")).to_be_visible()


def test_a_hostile_query_is_text(visitor: Visitor) -> None:
    """A query with markup is shown as text, with examples of what can be found."""
    page = _results(visitor, '"><img src=x onerror=alert(1)>')

    expect(page.get_by_text('Nothing matches "><img src=x onerror=alert(1)>.')).to_be_visible()
    expect(page.get_by_role("link", name="gym.GetGym")).to_have_attribute("href", "/search?q=gym.GetGym")
    take_screens(page, "search-empty")


def test_a_dead_letter_is_found_by_its_id(visitor: Visitor, dead_letter: Callable[[], str]) -> None:
    """A dead letter is found by its id, in upper case too."""
    message_id = dead_letter()

    assert _redirect(visitor, message_id.upper()) == f"/outbox/session/{message_id}"


def _results(visitor: Visitor, query: str) -> Page:
    return visitor.open(f"/search?q={quote(query, safe='')}")


def _redirect(visitor: Visitor, query: str) -> str:
    """Return the address that the search leads to, or the text of its page."""
    answer = visitor.context.request.get(
        f"{visitor.base}/search?q={quote(query, safe='')}", max_redirects=0, headers={"accept": "text/html"}
    )
    location: str = answer.headers.get("location", "")
    return location or re.sub(r"\s+", " ", answer.text())[:2000]
