"""Journeys of people, told by `solo60 demo` on a mesh of real processes whose clock the stories move."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.mail_sink import read_mails
from tests.support.local_mesh import LocalMesh

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

Json = dict[str, Any]
# Steps of each story by name, in their order.
Stories = dict[str, dict[str, Json]]
DAY = timedelta(days=1)
# Real time that a story takes between two moves of the clock.
SOON = timedelta(minutes=5)


@pytest.fixture(scope="module")
def mesh() -> Iterator[LocalMesh]:
    """Start a mesh with a movable clock."""
    with LocalMesh.in_new_folder() as started:
        started.up("--clock")
        yield started


@pytest.fixture(scope="module")
def stories(mesh: LocalMesh) -> Stories:
    """Tell all stories, the first three at once, and wait until no work is due."""
    with ThreadPoolExecutor() as pool:
        told = dict(pool.map(lambda name: (name, tell(mesh, name)), ("booking", "cancellation", "approval")))
    told |= {name: tell(mesh, name) for name in ("sign-up", "subscription")}
    done = mesh.solo60("clock", "advance", "1m", "--json")
    assert json.loads(done.stdout)["open"] == []
    return told


def tell(mesh: LocalMesh, name: str) -> dict[str, Json]:
    """Run a demo; return its steps by name."""
    done = mesh.solo60("demo", name, "--json")
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    by_name = {step["name"]: step for step in steps}
    assert len(by_name) == len(steps)
    return by_name


def facts(story: dict[str, Json], fact: str) -> dict[str, object]:
    """Return one fact of each step that has it."""
    return {name: step["facts"][fact] for name, step in story.items() if fact in step["facts"]}


def mails(story: dict[str, Json]) -> dict[str, list[str]]:
    """Return the recipients of each step's mails, by the first part of their addresses."""
    recipients = {name: [mail["to"] for mail in step["mails"]] for name, step in story.items() if step["mails"]}
    return {name: [each.partition("@")[0].partition("-")[0] for each in found] for name, found in recipients.items()}


def time_of(text: object) -> datetime:
    """Return the time in a fact."""
    return datetime.fromisoformat(str(text))


def services(step: Json) -> set[str]:
    """Return the services in the trace of a step."""
    return {hop["service"] for hop in step["hops"]}


@pytest.mark.requirement("J1")
def test_a_booking_is_paid_and_its_member_notified(stories: Stories) -> None:
    """A booking is confirmed, takes its credits, and sends two mails. The same slot and a call without key fail."""
    story = stories["booking"]

    assert facts(story, "status") == {"booked": "confirmed"}
    assert (story["booked"]["facts"]["credits"], story["booked"]["facts"]["balance"]) == (10, 10)
    assert mails(story) == {"booked": ["dana", "dana"]}
    assert facts(story, "error") == {"slot taken": "SLOT_TAKEN", "no key": "UNAUTHENTICATED"}
    assert services(story["booked"]) == {"session", "user", "gym", "payment", "communication"}


@pytest.mark.requirement("J2")
def test_a_cancellation_returns_money_or_credits_and_offers_the_slot(stories: Stories) -> None:
    """A cancellation refunds the card, informs the guest, and holds the slot for a waiting member, who claims it.

    The second cancellation returns the credits.
    """
    story = stories["cancellation"]

    assert facts(story, "status") == {
        "booked": "confirmed",
        "moved": "confirmed",
        "cancelled": "cancelled",
        "claimed": "confirmed",
        "cancelled again": "cancelled",
    }
    assert mails(story) == {
        "booked": ["dana", "gus"],
        "moved": ["dana", "gus"],
        "cancelled": ["dana", "gus"],
        "offered": ["wren"],
        "claimed": ["wren"],
        "cancelled again": ["wren"],
    }
    assert story["waiting"]["facts"]["error"] == "SLOT_TAKEN"
    assert story["cancelled"]["facts"]["payment"] == "refunded"
    assert facts(story, "refund") == {"cancelled": "£9.00", "cancelled again": 7}
    assert facts(story, "balance") == {"claimed": 13, "cancelled again": 20}
    start = facts(story, "start_time")
    assert start["booked"] != start["moved"] == start["cancelled"] == start["claimed"]
    assert len(set(facts(story, "session_id").values())) == 2


@pytest.mark.requirement("J2")
def test_a_free_slot_is_held_for_one_waiting_member_for_half_an_hour(stories: Stories) -> None:
    """The offer is open, ends within 30 minutes of the cancellation, and keeps another member from booking."""
    story = stories["cancellation"]
    offered = story["offered"]["facts"]

    assert (offered["offer"], offered["omar_books"]) == ("open", "SLOT_OFFERED")
    assert timedelta() < time_of(offered["expire_time"]) - time_of(story["cancelled"]["time"]) <= timedelta(minutes=30)


@pytest.mark.requirement("J3")
def test_an_admin_approves_one_session_and_rejects_another(stories: Stories) -> None:
    """Both bookings wait for approval and inform the admins. The rejected one is refunded."""
    story = stories["approval"]

    assert facts(story, "status") == {
        "requested": "pending approval",
        "approved": "confirmed",
        "requested by card": "pending approval",
        "rejected": "rejected",
    }
    assert mails(story) == {
        "requested": ["admins"],
        "approved": ["dana"],
        "requested by card": ["admins"],
        "rejected": ["sam"],
    }
    assert facts(story, "balance") == {"requested": 2}
    assert facts(story, "price") == {"requested by card": "£22.00"}
    assert facts(story, "refund") == {"rejected": "£22.00"}
    assert services(story["rejected"]) == {"session", "user", "gym", "payment", "communication"}


@pytest.mark.requirement("J4")
def test_a_subscription_takes_its_steps_on_time(stories: Stories) -> None:
    """Trial, reminders, charges, failures and end come in order, each on its day, with its status and its mail."""
    story = stories["subscription"]
    trial_end = time_of(story["subscribed"]["facts"]["period_end"])
    renewal = time_of(story["first charge"]["facts"]["period_end"])
    end = time_of(story["recovered"]["facts"]["period_end"])
    days = {
        "subscribed": trial_end - 14 * DAY,
        "trial ending": trial_end - 3 * DAY,
        "first charge": trial_end,
        "reminder 7 days": renewal - 7 * DAY,
        "reminder 3 days": renewal - 3 * DAY,
        "payment failed": renewal,
        "payment failed again": renewal + 3 * DAY,
        "recovered": renewal + 4 * DAY,
        "resumed": renewal + 5 * DAY,
        "cancelled again": renewal + 6 * DAY,
        "ended": end,
    }

    for name, day in days.items():
        assert timedelta() <= time_of(story[name]["time"]) - day < SOON, name
    assert facts(story, "status") == {
        **dict.fromkeys(("subscribed", "trial ending"), "trialing"),
        **dict.fromkeys(("first charge", "booked", "reminder 7 days", "reminder 3 days", "card blocked"), "active"),
        **dict.fromkeys(("payment failed", "payment failed again"), "past due"),
        **dict.fromkeys(("recovered", "cancelled", "resumed", "cancelled again"), "active"),
        "ended": "cancelled",
    }
    assert {name: len(found) for name, found in mails(story).items()} == {
        **dict.fromkeys((name for name in days if name != "ended"), 1),
        "booked": 2,
        "cancelled": 1,
    }


@pytest.mark.requirement("J4")
def test_each_mail_of_a_subscription_has_its_own_day(stories: Stories) -> None:
    """A mail arrives on the day of its step, and a mail about a failed payment names the day of the next attempt."""
    story = stories["subscription"]
    renewal = time_of(story["payment failed"]["facts"]["period_end"])

    for step in story.values():
        for mail in step["mails"]:
            assert timedelta() <= time_of(step["time"]) - time_of(mail["received"]) < SOON, step["name"]
    for name, attempt in (("payment failed", renewal + 3 * DAY), ("payment failed again", renewal + 8 * DAY)):
        assert f"{attempt.day} {attempt:%B %Y}" in story[name]["mails"][0]["text"]


@pytest.mark.requirement("J4")
def test_the_credits_of_a_subscription_are_exact(stories: Stories) -> None:
    """Each paid period grants its credits once. They are spent and expire in the order of their expiries."""
    story = stories["subscription"]

    assert list(facts(story, "credits").values()) == [
        100,
        100,
        200,
        190,
        190,
        190,
        190,
        100,
        100,
        200,
        200,
        200,
        200,
        100,
    ]
    assert story["booked"]["facts"]["next_expire_credits"] == 90
    assert story["ledger"]["facts"] == {"issued": 300, "spent": -10, "expired": -190, "balance": 100}


@pytest.mark.requirement("J5")
def test_a_member_signs_up_and_sets_a_new_password(stories: Stories) -> None:
    """Log-in needs a confirmed address. A reset with the mailed code ends all log-ins and the old password."""
    story = stories["sign-up"]

    assert list(story)[:4] == ["signed up", "not confirmed", "logged in", "refreshed"]
    assert story["not confirmed"]["facts"]["error"] == "EMAIL_NOT_CONFIRMED"
    assert story["logged in"]["facts"]["user_id"] == story["signed up"]["facts"]["user_id"]
    assert story["password changed"]["facts"] == {"old_password": "CREDENTIALS_INVALID", "old_log_in_is_valid": False}
    assert {name: len(found) for name, found in mails(story).items()} == {
        "signed up": 1,
        "reset requested": 1,
        "password changed": 1,
        "caught": 1,
    }
    assert services(story["signed up"]) == {"auth", "user", "communication"}


@pytest.mark.requirement("J5")
def test_the_second_use_of_a_stolen_token_ends_its_log_in_only(stories: Stories) -> None:
    """A copied refresh token ends the log-in of thief and owner. Other log-ins end when the owner ends all of them."""
    story = stories["sign-up"]

    assert story["stolen"]["facts"] == {"phone": True, "laptop": True}
    assert story["caught"]["facts"] == {"thief": "TOKEN_INVALID", "laptop": "TOKEN_INVALID", "phone": True}
    assert story["logged out everywhere"]["facts"] == {"phone": False}


@pytest.mark.requirement("J1", "J2", "J3", "J4", "J5")
def test_no_mail_is_sent_twice_and_none_is_missing_in_a_story(mesh: LocalMesh, stories: Stories) -> None:
    """Once no work is due, the mails in the inbox are those in the stories, each of them once."""
    told = Counter(
        mail["message_id"] for story in stories.values() for step in story.values() for mail in step["mails"]
    )

    assert Counter(mail.message_id for mail in read_mails(mesh.data_dir / "inbox")) == told
    assert set(told.values()) == {1}
    assert len(told) == 2 + 9 + 4 + 13 + 4
