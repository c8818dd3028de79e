from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.errors import TemplateNotFound, TemplateVariableMissing
from contracts.services import SERVICES
from mesh.config import SettingsError
from services.communication import app
from services.communication.app import TEMPLATES
from services.communication.mail_template import Templates

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
    "RENEWAL_REMINDER": {"member_name", "plan_name", "price", "renewal_time"},
    "TRIAL_ENDING": {"member_name", "plan_name", "price", "trial_end_time"},
    "EMAIL_CONFIRMATION": {"member_name", "code"},
    "PASSWORD_RESET": {"member_name", "code"},
    "PASSWORD_CHANGED": {"member_name"},
    "ACCOUNT_VERIFICATION": {"member_name"},
}


def write_template(
    folder: Path, key: str, *, body: str = "Hello", choice: str | None = "repeat", lifetime: str | None = "ever"
) -> None:
    """Write a template into `folder`."""
    (folder / key).mkdir(parents=True)
    (folder / key / "subject.txt").write_text("Hello")
    (folder / key / "body.txt").write_text(body)
    if choice is not None:
        (folder / key / "in_doubt.txt").write_text(choice)
    if lifetime is not None:
        (folder / key / "lifetime.txt").write_text(lifetime)


@pytest.fixture(scope="module")
def templates() -> Templates:
    """Load the templates of the service."""
    return Templates(TEMPLATES)


def test_the_templates_are_those_of_the_contract(templates: Templates) -> None:
    """The contract's list of templates is complete."""
    assert set(templates._by_key) == set(VARIABLES)
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
    """Jinja and HTML in a value appear in the mail unchanged."""
    name = "{{ 7 * 7 }} {% raw %} <b>&amp;"

    assert name in templates.find("PASSWORD_CHANGED").fill({"member_name": name}).body


def test_only_spot_available_is_not_repeated_in_doubt(templates: Templates) -> None:
    """SPOT_AVAILABLE alone is not repeated in doubt, because a late copy would announce a taken slot (RFC 1047)."""
    given_up = [key for key in templates._by_key if not templates.find(key).repeats_in_doubt]

    assert given_up == ["SPOT_AVAILABLE"]


@pytest.mark.parametrize("choice", [None, "", "maybe", "Repeat", "repeat\nrepeat", "give  up"])
def test_a_template_without_a_valid_choice_in_doubt_is_rejected(tmp_path: Path, choice: str | None) -> None:
    """A missing or invalid `in_doubt.txt` is rejected with an error that names the template."""
    write_template(tmp_path, "UNDECIDED", choice=choice)

    with pytest.raises(ValueError, match=r'^Template UNDECIDED: in_doubt\.txt must contain "repeat" or "give up"\.$'):
        Templates(tmp_path)


async def test_an_invalid_template_stops_the_start(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid template stops the service at its start with SettingsError."""
    write_template(tmp_path / "templates", "UNDECIDED", choice="perhaps")
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
