"""Parts of a story: its mails, words and output."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.demos.hours import period
from cli.demos.printing import StoryPrinter, step_as_json
from cli.demos.story import Fact, Person, ReceivedMail, Step
from cli.demos.wording import price, slot, status
from cli.terminal import CommandError, out
from local.mail_sink import Mail
from solo60.common.v1.money_pb2 import Money
from solo60.session.v1.session_pb2 import SessionStatus

EVENING = datetime(2026, 7, 1, 18, 30, tzinfo=UTC)
GRACE = Person("Grace Demo", "grace@solo60.example")
BODY = """\
Hello Grace,

Enter this code:

    98aqf-p6m1k

    Offer:  0198c1a2

Solo60
"""


def mail_with(body: str) -> ReceivedMail:
    """Return a mail to Grace."""
    mail = Mail("mail@solo60.example", GRACE.email, "A code", body, "<1@solo60.example>", EVENING)
    return ReceivedMail(GRACE, mail)


def test_a_mail_yields_its_code_its_values_and_its_gist() -> None:
    """The code stands alone in a line, a value follows its label, and the gist omits salutation and signature."""
    mail = mail_with(BODY)

    assert (mail.code, mail.value_of("Offer")) == ("98aqf-p6m1k", "0198c1a2")
    assert mail.gist == "Enter this code:\n    98aqf-p6m1k"
    assert mail_with("Hello Grace,\n\nYou are logged out.\n\nSolo60\n").gist == "You are logged out."


def test_a_mail_without_the_expected_text_is_an_error() -> None:
    """A story that needs a code or a value fails with the subject of the mail that does not contain it."""
    mail = mail_with("Hello Grace,\n\nnothing here.\n")

    with pytest.raises(CommandError, match="'A code' does not contain a code"):
        _ = mail.code
    with pytest.raises(CommandError, match="'A code' does not contain Offer"):
        mail.value_of("Offer")


def test_times_are_in_london_and_amounts_have_their_symbol() -> None:
    """Summer time counts, and a currency without a known symbol is named."""
    assert slot(period(EVENING, EVENING.replace(hour=19))) == "Wednesday 1 July 2026, 19:30 to 20:30"
    amounts = [Money(currency_code=currency, minor_units=1205) for currency in ("GBP", "EUR", "SEK")]
    assert [price(each) for each in amounts] == ["£12.05", "€12.05", "SEK 12.05"]
    assert status(SessionStatus.Name(SessionStatus.SESSION_STATUS_PENDING_APPROVAL)) == "pending approval"


def test_a_day_is_printed_once_above_its_steps() -> None:
    """Steps of one day share its heading. Facts and mails are printed as they are, also if they look like markup."""
    facts: dict[str, Fact] = {"start_time": EVENING, "logged_in": True, "message": "[bold]"}
    steps = [
        Step("first", "Grace [red] logs in.", EVENING, facts, (mail_with(BODY),)),
        Step("second", "Grace logs out.", EVENING.replace(minute=45), {}),
        Step("third", "A day passes.", EVENING.replace(day=2), {}),
    ]
    printer = StoryPrinter()

    with out.capture() as captured:
        for step in steps:
            printer.print(step)
    lines = captured.get().splitlines()

    assert [line for line in lines if line and not line.startswith(" ")] == [
        "Wednesday 1 July 2026",
        "19:30  Grace [red] logs in.",
        "19:45  Grace logs out.",
        "Thursday 2 July 2026",
        "19:30  A day passes.",
    ]
    assert "       start time  Wednesday 1 July 2026, 19:30" in lines
    assert "       logged in   yes" in lines
    assert "       message     [bold]" in lines
    assert "       ✉ to Grace Demo: A code" in lines


def test_json_has_times_in_utc_and_facts_as_values() -> None:
    """JSON keeps numbers and booleans, and writes times in UTC with their offset."""
    step = Step("first", "Grace logs in.", EVENING, {"credits": 5, "start_time": EVENING}, (mail_with(BODY),))

    shown = step_as_json(step)

    assert shown["facts"] == {"credits": 5, "start_time": "2026-07-01T18:30:00+00:00"}
    assert (shown["time"], shown["trace_id"], shown["hops"]) == ("2026-07-01T18:30:00+00:00", None, [])
    assert shown["mails"] == [
        {
            "to": "grace@solo60.example",
            "subject": "A code",
            "text": "Enter this code:\n    98aqf-p6m1k",
            "received": "2026-07-01T18:30:00+00:00",
            "message_id": "<1@solo60.example>",
        }
    ]
