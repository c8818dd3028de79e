from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.browser import take_screens

if TYPE_CHECKING:
    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def session_id(console_mesh: LocalMesh) -> str:
    """Tell the story of a cancellation, and return the id of its session."""
    done = console_mesh.solo60("demo", "cancellation")
    found = re.search(r"session id +(\S+)", done.stdout)
    assert found, done.stdout + done.stderr
    return found[1]


def test_a_cancelled_booking_shows_its_steps_and_the_refund(visitor: Visitor, session_id: str) -> None:
    """The list leads to the journey, whose charge names the refund that undid it."""
    page = visitor.open("/journeys")
    take_screens(page, "journeys")
    page.get_by_role("link", name=session_id).click()
    charge = page.get_by_role("row").filter(has_text="payment.ChargeSession")

    expect(charge).to_contain_text("payment.RefundSession")
    expect(page.get_by_text("Nothing is pending.")).to_be_visible()
    charge.get_by_text("request").click()
    expect(charge).to_contain_text(session_id)
    take_screens(page, "journey")


def test_any_id_can_be_typed(visitor: Visitor, session_id: str) -> None:
    """The field leads to the journey of an id, or says that there is none."""
    page = visitor.open("/journeys")
    field = page.get_by_label("Id of a session or subscription")
    field.fill(f" {session_id} ")
    field.press("Enter")
    expect(page).to_have_url(f"{visitor.base}/journeys/{session_id}")

    visitor.go(page, "/journeys/00000000-0000-4000-8000-000000000000")
    expect(page.get_by_text("There is no session and no subscription with the id")).to_be_visible()
    visitor.go(page, "/journeys/nonsense")
    expect(page.get_by_text('"nonsense" is not an id.')).to_be_visible()


def test_the_command_shows_the_same(console_mesh: LocalMesh, session_id: str) -> None:
    """`solo60 journey --json` has the state, the payments and the steps, with personal data masked."""
    read = json.loads(console_mesh.solo60("journey", session_id, "--json").stdout)

    assert (read["kind"], read["status"]) == ("session", "SESSION_STATUS_CANCELLED")
    assert read["payments"][0]["status"] == "PAYMENT_STATUS_REFUNDED"
    assert "session.BookSession" in [step["method"] for step in read["steps"]]
    assert read["failures"] == read["waits"] == []
