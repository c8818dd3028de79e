from __future__ import annotations

import json
from operator import attrgetter
from typing import TYPE_CHECKING

import pytest

from cli import methods
from contracts.method import find_method
from contracts.services import all_methods
from operations.contracts.descriptions import description_of
from operations.contracts.documents import document_of_method
from tests.support.terminal import solo60_in_terminal

if TYPE_CHECKING:
    from contracts.method import Method
    from tests.cli.conftest import Solo60


def test_methods_are_listed_for_people_and_for_scripts(solo60: Solo60) -> None:
    """`methods` lists every method of the contracts by its short name, without a running mesh."""
    shown, read = solo60("methods").out, json.loads(solo60("methods", "--json").out)
    gym = json.loads(solo60("methods", "gym", "--json").out)

    assert [each["method"] for each in read] == list(all_methods())
    assert [line.split()[0] for line in shown.splitlines()[1:]] == [each["name"] for each in read]
    assert [each["name"] for each in gym] == [each["name"] for each in read if each["name"].startswith("gym.")]
    assert {each["name"] for each in read if each["response_streaming"]} == {"session.WatchAvailability"}
    assert not any(each["contract_only"] for each in read)


def test_methods_of_an_unknown_service_are_rejected(solo60: Solo60) -> None:
    """`methods` exits with 1 for an unknown service and lists the known ones."""
    done = solo60("methods", "gmy")

    assert (done.exit_code, done.out) == (1, "")
    assert done.err.startswith('"gmy" is not a service. Services: auth, user, gym, ')


@pytest.mark.requirement("C4")
def test_a_method_is_described_with_everything_a_caller_needs(solo60: Solo60) -> None:
    """`describe` shows the fields of a method with their rules, its errors, its scopes and an example call."""
    shown = solo60("describe", "session.BookSession").out
    read = json.loads(solo60("describe", "BookSession", "--json").out)

    fields = {each["path"]: each for each in read["request"]["fields"]}
    assert (fields["user_id"]["type"], fields["user_id"]["rules"]) == ("string", ["uuid"])
    assert "required" in fields["period.start_time"]["rules"]
    assert "period must be at most 12 hours long" in fields["period"]["rules"]
    assert "one of method" in fields["payment_method.credits"]["rules"]
    assert read["scopes"] == ["session.write"]
    assert {each["reason"]: each["code"] for each in read["errors"]}["SLOT_TAKEN"] == "ALREADY_EXISTS"
    assert {each["path"] for each in read["response"]["fields"]} >= {"session.status", "session.price.minor_units"}
    for words in (
        "session.write",
        "payment_method.card.card_token",
        "min_len 1",
        "SLOT_TAKEN",
        "solo60 call session.B",
    ):
        assert words in shown


def test_rules_about_lists_maps_and_whole_requests_are_described(solo60: Solo60) -> None:
    """`describe` shows the rules of lists and their items, of map keys and values, and rules about several fields."""
    users = json.loads(solo60("describe", "user.BatchGetUsers", "--json").out)["request"]
    mail = json.loads(solo60("describe", "communication.SendEmailAsync", "--json").out)["request"]
    session_mail = json.loads(solo60("describe", "session.SendSessionMail", "--json").out)["request"]
    variables = next(each for each in mail["fields"] if each["path"] == "variables")

    assert users["fields"] == [
        {
            "path": "user_ids",
            "type": "repeated string",
            "rules": ["min_items 1", "max_items 100", "unique", "each: uuid"],
            "comment": "Ids of the users: 1 to 100, without duplicates.",
            "personal_data": False,
        }
    ]
    assert variables["type"] == "map<string, string>"
    assert "each key: pattern ^[a-z][a-z0-9_]{0,63}$" in variables["rules"]
    assert "each value: max_len 2000" in variables["rules"]
    assert len(session_mail["rules"]) == 3


def test_a_contract_only_method_is_described_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    """The description of a contract-only method says that no service implements it yet."""
    method = find_method("/solo60.example.v1.EchoService/Promise")

    methods._print(document_of_method(method))

    assert "Contract only, not implemented." in capsys.readouterr().out
    assert description_of(method)["contract_only"] is True


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("gym.gym", "name", "solo60.gym.v1.Gym"),
        ("solo60.user.v1.UserLeft", "publisher", "solo60.user.v1"),
        ("session.SessionStatus", "kind", "enum"),
        ("slot_taken", "code", "ALREADY_EXISTS"),
        ("INVALID_REQUEST", "methods", None),
    ],
)
def test_types_and_errors_are_described_too(solo60: Solo60, name: str, key: str, value: object) -> None:
    """`describe` shows messages, events, enums and errors, for people and for scripts."""
    read = json.loads(solo60("describe", name, "--json").out)

    assert read[key] == value
    assert str(read.get("comment") or read["meaning"]) in solo60("describe", name).out


def test_an_unknown_name_is_rejected(solo60: Solo60) -> None:
    """`describe` suggests methods for a name that nothing has."""
    assert solo60("describe", "gym.GetGim").err.startswith('There is no method "gym.GetGim". Did you mean gym.GetGym')


def test_contracts_are_found_by_words_of_their_comments(solo60: Solo60) -> None:
    """`contracts find` lists the entries with all words, and filters them by kind and service."""
    shown = solo60("contracts", "find", "overlaps", "another member", "--kind", "error").out
    read = json.loads(solo60("contracts", "find", "--service", "gym", "--kind", "event", "--json").out)

    assert [line.split()[:2] for line in shown.splitlines()[1:]] == [["SLOT_TAKEN", "error"]]
    assert [each["name"] for each in read] == ["solo60.gym.v1.WaitingListModeChanged"]
    assert all(each["summary"] for each in read)


@pytest.mark.requirement("C4")
@pytest.mark.parametrize("method", all_methods().values(), ids=attrgetter("short_name"))
def test_every_method_can_be_described(solo60: Solo60, method: Method) -> None:
    """Every method can be described, and `call` accepts the example request in its description."""
    name = method.short_name
    read = json.loads(solo60("describe", name, "--json").out)

    called = solo60("call", name, json.dumps(read["request"]["example"]))

    # `call` validates the request before it looks for a key.
    assert called.err.startswith("SERVICE_API_KEY: not set")


@pytest.mark.usefixtures("solo60")
@pytest.mark.parametrize("columns", [40, 80, 130])
def test_names_are_whole_in_any_terminal(columns: int) -> None:
    """`methods` and `describe` shorten no name at 40, 80 or 130 columns, so that names can be copied."""
    _, listed = solo60_in_terminal("methods", columns=columns)
    _, described = solo60_in_terminal("describe", "session.BookSession", columns=columns)

    assert all(method.short_name in listed for method in all_methods().values())
    assert "payment_method.card.card_token" in described
    assert "…" not in listed + described
