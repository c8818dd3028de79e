from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from interceptors.keys.keyring import KeyRecord
from operations.health.diagnosis import MeshState
from operations.health.problems import (
    Harm,
    LateMessages,
    Problem,
    problems_of_clock,
    problems_of_keys,
    problems_of_logs,
    problems_of_outboxes,
    problems_of_parts,
    problems_of_services,
    unreadable,
)
from operations.logs.watch import UndeclaredCall

NOW = datetime(2026, 11, 29, 8, 0, tzinfo=UTC)
SERVING: dict[str, object] = {"status": "SERVING"}


def _key(caller: str, *, ends_in: timedelta | None = None, scopes: frozenset[str] = frozenset()) -> KeyRecord:
    ends = NOW + ends_in if ends_in is not None else None
    return KeyRecord("kIdOfTheKey0", caller, "0" * 64, scopes, NOW - timedelta(days=30), ends)


def test_a_healthy_mesh_has_no_problems() -> None:
    """Services that are SERVING, without breakers, dead letters and troubles, are no problem."""
    assert list(problems_of_services({"auth": SERVING, "gym": SERVING})) == []


def test_services_with_the_same_fault_are_one_problem() -> None:
    """Services that are down for the same reason are named together, with the reason and the command."""
    down: dict[str, object] = {
        "status": "NOT_SERVING",
        "reason": "Its database does not answer.",
        "next": "solo60 restart postgresql",
    }

    (found,) = problems_of_services({"auth": down, "user": SERVING, "gym": down})

    assert found == Problem(
        Harm.OUTAGE, "auth, gym", "Its database does not answer.", "/logs", "solo60 restart postgresql"
    )


def test_a_predicate_gets_its_subject() -> None:
    """The end of a process, which the mesh reports as a predicate, becomes a sentence with a page for its log."""
    down: dict[str, object] = {
        "status": "UNREACHABLE",
        "reason": "was killed by signal 9. It restarts.",
        "next": "solo60 restart gym",
    }

    (found,) = problems_of_services({"gym": down})

    assert (found.sentence, found.page) == ("gym was killed by signal 9. It restarts.", "/logs?service=gym")


def test_breakers_are_grouped_by_callee() -> None:
    """The breakers of one service to the same callee are one problem, with the log of the callee."""
    prefix = "solo60.payment.v1.PaymentService/"
    breakers = {f"{prefix}GetPayment": "open", f"{prefix}ChargeSession": "open"}

    (found,) = problems_of_services({"session": {**SERVING, "breakers": breakers}})

    assert found.sentence == "The breaker to payment is open for GetPayment, ChargeSession. Calls fail at once."
    assert (found.harm, found.page, found.command) == (Harm.STUCK, "/map", "solo60 logs payment")


def test_dead_letters_lead_to_their_list() -> None:
    """A destination with dead letters leads to the page and the command that list them."""
    entry = {**SERVING, "dead_letters": ["solo60.session.v1.SessionService/SendSessionMail"]}

    (found,) = problems_of_services({"session": entry})

    assert found.sentence == "Messages to session.SendSessionMail were given up and wait for a decision."
    assert found.page == "/outbox?service=session&status=dead"
    assert found.command == "solo60 outbox list session --dead"


def test_failing_mail_leads_to_the_mail_page() -> None:
    """The command in a trouble's text becomes the command of the problem, and failing mail leads to Mail."""
    trouble = "some mail could not be sent (see: solo60 messages list)"

    (found,) = problems_of_services({"communication": {**SERVING, "troubles": [trouble]}})

    assert found == Problem(
        Harm.STUCK, "communication", "Some mail could not be sent.", "/mail", "solo60 messages list"
    )


def test_other_troubles_lead_to_the_log() -> None:
    """A trouble without a command leads to the log, and a full disk is left to the mesh."""
    troubles = ["the card processor rejects STRIPE_API_KEY", "DATA_DIR: the disk of /data is full."]

    (found,) = problems_of_services({"payment": {**SERVING, "troubles": troubles}})

    assert (found.page, found.command) == ("/logs?service=payment", "solo60 logs payment")


def test_a_full_disk_and_a_dead_part_are_problems() -> None:
    """The disk and PostgreSQL are outages, and the inbox is a smaller harm."""
    states = {"postgresql": "PostgreSQL was killed by signal 9.", "mail_sink": "starting", "gym": "starting"}
    mesh = MeshState(runs=True, states=states, disk="the disk of /a b is full.")

    found = list(problems_of_parts(mesh, Path("/a b"), []))

    assert [(each.harm, each.subject, each.command) for each in found] == [
        (Harm.OUTAGE, "disk", "df -h '/a b'"),
        (Harm.OUTAGE, "postgresql", "solo60 restart postgresql"),
        (Harm.STUCK, "mail_sink", "solo60 restart mail_sink"),
    ]
    assert found[0].sentence == "The disk of /a b is full."
    assert found[2].sentence == "mail_sink is starting."
    assert found[1].sentence == "PostgreSQL was killed by signal 9."


def test_a_fault_of_postgresql_is_reported_once() -> None:
    """A fault that the services already give as their reason is not repeated."""
    mesh = MeshState(runs=True, states={"postgresql": "PostgreSQL was killed by signal 9."})
    reported = [Problem(Harm.OUTAGE, "auth", "No database. PostgreSQL was killed by signal 9.")]

    assert list(problems_of_parts(mesh, Path(), reported)) == []


@pytest.mark.parametrize(
    ("ends_in", "harm", "words", "command"),
    [
        (timedelta(days=6, hours=2), Harm.RISK, "expires in 6 days", "solo60 keys rotate gym"),
        (timedelta(hours=-2), Harm.STUCK, "expired at 2026-11-29 06:00 UTC", "solo60 keys issue gym"),
    ],
)
def test_the_last_key_of_a_caller_must_not_expire(ends_in: timedelta, harm: Harm, words: str, command: str) -> None:
    """A caller whose last key expires within a week, or has expired, is a problem."""
    (found,) = problems_of_keys([_key("gym", ends_in=ends_in)], NOW)

    assert (found.harm, found.page, found.command) == (harm, "/keys?caller=gym", command)
    assert words in found.sentence


@pytest.mark.parametrize(
    "records",
    [
        [_key("gym", ends_in=timedelta(days=8))],
        [_key("gym", ends_in=timedelta(hours=5)), _key("gym")],
        [_key("gym"), _key("gym", ends_in=timedelta(hours=5))],
        [_key("gym", ends_in=timedelta(days=-8))],
    ],
    ids=["later", "rotated", "newer expires first", "retired"],
)
def test_other_expiries_are_no_problem(records: list[KeyRecord]) -> None:
    """A caller with another key, with time left, or without a key for a week has no problem."""
    assert list(problems_of_keys(records, NOW)) == []


def test_needless_scopes_are_a_risk() -> None:
    """A valid key with a scope that no call of its service needs is named with the scope; an expired one is not."""
    scopes = frozenset({"payment.refund_everything"})

    (found,) = problems_of_keys([_key("gym", scopes=scopes)], NOW)

    assert found.harm is Harm.RISK
    assert "Key kIdOfTheKey0 has scopes that no call needs: payment.refund_everything." in found.sentence
    assert list(problems_of_keys([_key("gym", scopes=scopes, ends_in=timedelta(days=-9))], NOW)) == []


def test_late_messages_are_stuck() -> None:
    """Messages that are late by more than a minute are stuck, the latest first; fresh ones are not."""
    to = "solo60.user.v1.UserService/"
    late = [
        LateMessages("auth", f"{to}A", 1, 61),
        LateMessages("gym", f"{to}B", 3, 7300),
        LateMessages("gym", to, 1, 59),
    ]

    found = list(problems_of_outboxes(late))

    assert [each.sentence for each in found] == [
        "A message to user.B was due 2 h ago and is not delivered. 3 are due.",
        "A message to user.A was due 61 s ago and is not delivered. 1 is due.",
    ]
    assert found[0].page == "/outbox?service=gym&status=pending"


def test_an_undeclared_call_names_both_methods() -> None:
    """An undeclared call names the method that calls, and the method that is called."""
    call = UndeclaredCall("gym", "solo60.gym.v1.GymService/GetGym", "solo60.user.v1.UserService/GetUser")

    (found,) = problems_of_logs([call])

    assert found.sentence.startswith("gym.GetGym calls user.GetUser, which its contract does not list.")
    assert (found.harm, found.command) == (Harm.RISK, "solo60 explain gym.GetGym")


def test_a_command_with_any_name_is_one_command() -> None:
    """A reader pastes the command into a shell, so a name in a log line cannot add another command."""
    (found,) = problems_of_logs(
        [UndeclaredCall("gym", "solo60.gym.v1.GymService/x; reboot", "solo60.user.v1.UserService/GetUser")]
    )

    assert found.command == "solo60 explain 'gym.x; reboot'"


def test_a_moved_clock_is_a_note() -> None:
    """A clock that is ahead is a note; one that is not is nothing."""
    (found,) = problems_of_clock(timedelta(days=31))

    assert (found.harm, found.sentence) == (Harm.NOTE, "The clock of the mesh is 31 days ahead of the system's clock.")
    assert list(problems_of_clock(timedelta())) == []


def test_a_source_that_cannot_be_read_says_why() -> None:
    """The problem names the source and the reason."""
    assert unreadable("keyring", "no such file").sentence == "The keyring cannot be read: No such file."
