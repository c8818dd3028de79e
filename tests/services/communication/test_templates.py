from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from contracts.errors import TemplateNotFound, TemplateVariableMissing
from contracts.services import SERVICES
from mesh.config import SettingsError
from services.communication import app
from services.communication.mail_template import PARTS, TEMPLATES, Templates

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.serving import Serve

SESSION = {"member_name", "gym_name", "start_time", "end_time"}
# The variables that callers send. Callers must send a new variable before a template may use it.
VARIABLES = {
    "SESSION_BOOKED": SESSION | {"price"},
    "SESSION_CANCELLED": SESSION | {"refund"},
    "NOISE_WARNING": {"member_name", "gym_name", "start_time", "noise_policy"},
    "APPROVAL_REQUESTED": SESSION | {"session_id"},
    "SESSION_APPROVED": SESSION,
    "SESSION_REJECTED": SESSION | {"reason"},
    "GUEST_INVITED": SESSION | {"guest_name"},
    "GUEST_SESSION_CANCELLED": SESSION | {"guest_name"},
    "SPOT_AVAILABLE": SESSION,
    "SESSION_RESCHEDULED": SESSION,
    "GUEST_SESSION_RESCHEDULED": SESSION | {"guest_name"},
    "SLOT_OFFERED": SESSION | {"offer_id", "expire_time", "card_price", "credits_price"},
    "SUBSCRIPTION_ACTIVATED": {"member_name", "plan_name", "price", "credits_per_month"},
    "SUBSCRIPTION_EXPIRED": {"member_name", "plan_name", "end_time"},
    "SUBSCRIPTION_RESUMED": {"member_name", "plan_name", "price", "renewal_time"},
    "PAYMENT_SUCCESS": {"member_name", "plan_name", "credits"},
    "PAYMENT_FAILED": {"member_name", "plan_name", "retry_time"},
    "PAYMENT_DISPUTED": {"outcome", "sentence", "dispute_id", "payment_id", "amount", "reason", "answer_time"},
    "REFUND_FAILED": {"remedy", "refund_id", "payment_id", "amount", "reason"},
    "RENEWAL_REMINDER": {"member_name", "plan_name", "price", "renewal_time"},
    "TRIAL_ENDING": {"member_name", "plan_name", "price", "trial_end_time"},
    "EMAIL_CONFIRMATION": {"member_name", "code"},
    "PASSWORD_RESET": {"member_name", "code"},
    "PASSWORD_CHANGED": {"member_name"},
    "ACCOUNT_VERIFICATION": {"member_name"},
    "TOKEN_REUSED": {"member_name"},
}


SETTINGS = """category = "bookings"
in_doubt = "repeat"
lifetime = "ever"
[example]
"""


def write_template(folder: Path, key: str, *, body: str = "Hello", settings: str | None = SETTINGS) -> None:
    """Write a template into `folder`."""
    (folder / key).mkdir(parents=True)
    (folder / key / "subject.txt").write_text("Hello")
    (folder / key / "body.txt").write_text(body)
    (folder / key / "body.html").write_text(body)
    if settings is not None:
        (folder / key / "template.toml").write_text(settings)


@pytest.fixture(scope="module")
def templates() -> Templates:
    """Load the templates of the service."""
    return Templates(TEMPLATES)


def test_the_templates_are_those_of_the_contract(templates: Templates) -> None:
    """The contract's list of templates is complete."""
    assert {template.key for template in templates} == set(VARIABLES)
    proto = TEMPLATES.parents[2] / "proto" / SERVICES["communication"].file.name
    text = proto.read_text().partition("Template keys:")[2].partition(".\n")[0]
    assert {key.strip("/ \n") for key in text.split(",")} == set(VARIABLES)


@pytest.mark.parametrize("key", sorted(VARIABLES))
def test_a_template_uses_exactly_the_callers_variables(templates: Templates, key: str) -> None:
    """A template requires exactly the callers' variables, shows each of them, and leaves no template markup."""
    template = templates.find(key)
    assert template.variables == VARIABLES[key]

    text = template.fill({name: f"«{name}»" for name in VARIABLES[key]} | {"unused": "«unused»"})

    shown = text.subject + text.body
    assert all(f"«{name}»" in shown for name in VARIABLES[key])
    assert not any(mark in shown for mark in ("{", "}", "unused"))
    assert text.subject
    assert "\n" not in text.subject
    assert text.body.endswith("\nSolo60\n")


def test_missing_variables_are_named_all_at_once(templates: Templates) -> None:
    """The error for missing variables names all of them, and repeats no value of the request."""
    with pytest.raises(TemplateVariableMissing) as caught:
        templates.find("SESSION_APPROVED").fill({"gym_name": "Field Street", "start_time": "18:00"})

    assert caught.value.message == "Template SESSION_APPROVED: missing variables: end_time, member_name."
    assert caught.value.metadata == {"variables": "end_time, member_name"}


def test_an_unknown_template_is_rejected(templates: Templates) -> None:
    """An unknown key is rejected, also one that is a path, because keys are looked up in memory and not on disk."""
    for key in ("SESSION", "../templates/SESSION_BOOKED"):
        with pytest.raises(TemplateNotFound):
            templates.find(key)


def test_a_value_is_never_interpreted_as_a_template(templates: Templates) -> None:
    """Jinja and HTML in a value appear in the text unchanged."""
    name = "{{ 7 * 7 }} {% raw %} <b>&amp;"

    assert name in templates.find("PASSWORD_CHANGED").fill({"member_name": name}).body


@pytest.mark.parametrize("key", sorted(VARIABLES))
def test_an_example_has_a_fictional_value_for_each_variable(templates: Templates, key: str) -> None:
    """The example of a template has a value for each variable and no other, and mentions no domain of a real person."""
    template = templates.find(key)

    assert template.settings.example.keys() == template.variables
    assert all(template.settings.example.values())
    assert not re.search(r"@(?!solo60\.example)", " ".join(template.settings.example.values()))


def test_only_spot_available_is_not_repeated_in_doubt(templates: Templates) -> None:
    """SPOT_AVAILABLE alone is not repeated in doubt, because a late copy would announce a taken slot (RFC 1047)."""
    given_up = [template.key for template in templates if not template.repeats_in_doubt]

    assert given_up == ["SPOT_AVAILABLE"]


DURATION = 'must be a duration such as "30 minutes" or "7 days", or "ever"'


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('"repeat"', '"maybe"', "in_doubt: must be 'repeat' or 'give up'."),
        ('"repeat"', '"Repeat"', "in_doubt: must be 'repeat' or 'give up'."),
        ('in_doubt = "repeat"', "", "in_doubt: Field required."),
        *(
            ('"ever"', f'"{lifetime}"', f"lifetime: {DURATION}.")
            for lifetime in ("", "soon", "0 days", "1.5 hours", "-1 days", "2 weeks", "1 day\\n1 day")
        ),
        ('"ever"', "7", f"lifetime: {DURATION}."),
        ('lifetime = "ever"', "", "lifetime: Field required."),
        (
            '"bookings"',
            '"gossip"',
            "category: must be 'bookings', 'payments', 'security', 'reminders' or 'waiting_list'.",
        ),
        ('category = "bookings"', "", "category: Field required."),
        ("[example]", 'colour = "red"\n[example]', "colour: Extra inputs are not permitted."),
        ("[example]", "[example]\ncredits = 40", "example.credits: must be a valid string."),
    ],
)
def test_invalid_settings_of_a_template_are_rejected(tmp_path: Path, before: str, after: str, reason: str) -> None:
    """A missing, unknown or invalid setting is rejected with an error that names the template and the setting."""
    write_template(tmp_path, "UNDECIDED", settings=SETTINGS.replace(before, after))

    with pytest.raises(ValueError, match="^" + re.escape(f"Template UNDECIDED: template.toml: {reason}") + "$"):
        Templates(tmp_path)


@pytest.mark.parametrize(
    ("settings", "reason"), [(None, "template.toml is missing."), ("category =", "template.toml is not TOML: ")]
)
def test_a_template_without_settings_is_rejected(tmp_path: Path, settings: str | None, reason: str) -> None:
    """A missing or malformed `template.toml` is rejected with an error that names the template."""
    write_template(tmp_path, "UNDECIDED", settings=settings)

    with pytest.raises(ValueError, match="^" + re.escape(f"Template UNDECIDED: {reason}")):
        Templates(tmp_path)


@pytest.mark.parametrize("part", PARTS)
def test_a_template_without_one_of_its_parts_is_rejected(tmp_path: Path, part: str) -> None:
    """A template that lacks its subject, its text or its HTML is rejected with an error that names it."""
    write_template(tmp_path, "HALF")
    (tmp_path / "HALF" / part).unlink()

    with pytest.raises(ValueError, match=f"^Template HALF: {re.escape(part)} is missing\\.$"):
        Templates(tmp_path)


async def test_an_invalid_template_stops_the_start(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid template stops the service at its start with SettingsError."""
    write_template(tmp_path / "templates", "UNDECIDED", settings="")
    monkeypatch.setattr(app, "TEMPLATES", tmp_path / "templates")

    with pytest.raises(SettingsError, match=r"^Template UNDECIDED: "):
        await serve(app.SERVICE)


def test_a_variable_of_one_branch_is_always_required(tmp_path: Path) -> None:
    """A variable used in only one branch is always required, so that no mail fails in a rare branch."""
    write_template(tmp_path, "BRANCHING", body="{% if name == 'x' %}{{ rare }}{% endif %}")

    assert Templates(tmp_path).find("BRANCHING").variables == {"name", "rare"}


EVIL = "Dana\n\nYour card was declined. Pay at http://evil.example or [here](https://evil.example/x) now"
ONE_LINE = "Dana Your card was declined. Pay at http: //evil. example or [here](https: //evil. example/x) now"


@pytest.mark.parametrize("key", sorted(VARIABLES))
def test_a_value_cannot_imitate_our_text_or_a_link(templates: Templates, key: str) -> None:
    """A typed value adds no line to a mail and contains nothing that a mail program would turn into a link."""
    typed = VARIABLES[key] - {"noise_policy", "code"}
    template = templates.find(key)
    plain = template.fill(dict.fromkeys(VARIABLES[key], "value"))

    text = template.fill(dict.fromkeys(typed, EVIL) | dict.fromkeys(VARIABLES[key] - typed, "value"))

    assert text.body.count("\n") == plain.body.count("\n")
    assert ONE_LINE in text.body or key == "PAYMENT_SUCCESS"
    for part in (text.subject, text.body):
        assert "://evil" not in part
        assert "evil.example" not in part


@pytest.mark.parametrize(
    "key", ["GUEST_INVITED", "GUEST_SESSION_CANCELLED", "GUEST_SESSION_RESCHEDULED", "APPROVAL_REQUESTED"]
)
def test_another_persons_name_is_quoted(templates: Templates, key: str) -> None:
    """A name that the reader did not type is shown in quotation marks, and quotation marks inside it are replaced."""
    names = {"member_name", "guest_name"} & VARIABLES[key]
    values = dict.fromkeys(VARIABLES[key], "value") | dict.fromkeys(names, 'Dana”, "Solo60“')

    text = templates.find(key).fill(values)

    shown = text.subject + text.body
    assert shown.count("“Dana', 'Solo60'”") == shown.count("Dana") >= len(names)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("نامه\u200cنگار", "نامه\u200cنگار"),  # noqa: RUF001 - Persian
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
        ("J.R.R. Tolkien", "J. R. R. Tolkien"),
        ("Dr. Ada O'Brien-Ó Súilleabháin 3.5", "Dr. Ada O'Brien-Ó Súilleabháin 3.5"),
        ("evil。example", "evil。 example"),
        ("evil．example", "evil． example"),  # noqa: RUF001 - a full stop that browsers treat as one
    ],
)
def test_a_name_is_shown_naturally(templates: Templates, name: str, shown: str) -> None:
    """Joiners in a name are preserved, and a full stop directly before a letter is followed by a space."""
    assert f"Hello {shown}," in templates.find("PASSWORD_CHANGED").fill({"member_name": name}).body


def test_our_own_text_is_shown_unchanged(templates: Templates) -> None:
    """A code that looks like a domain is shown unchanged, and a gym's rules retain their line breaks."""
    code = templates.find("PASSWORD_RESET").fill({"member_name": "Ada", "code": "ab.cd://ef"})
    rules = dict.fromkeys(VARIABLES["NOISE_WARNING"], "value") | {"noise_policy": "No weights\nafter 20:00.See you"}

    assert "ab.cd://ef" in code.body
    assert "No weights\nafter 20:00.See you" in templates.find("NOISE_WARNING").fill(rules).body
