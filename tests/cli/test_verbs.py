from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from cli.main import VERBS, app_for, main
from contracts.errors import PeriodPast
from contracts.services import SERVICE_NAMES
from local.mail_sink import RECIPIENT_HEADER, SENDER_HEADER
from mesh.config import load_settings
from operations.health import report as health
from tests.support.stored_traces import BOOKING, chain, write_spans

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Solo60


@pytest.mark.requirement("S5")
def test_health_of_a_stopped_mesh_is_unreachable(solo60: Solo60) -> None:
    """`health --json` reports every service of a stopped mesh as UNREACHABLE and exits with 1."""
    done = solo60("health", "--json")

    report = json.loads(done.out)
    assert done.exit_code == 1
    assert {name: entry["status"] for name, entry in report.items()} == dict.fromkeys(SERVICE_NAMES, "UNREACHABLE")
    assert all(entry.get("implemented", True) for entry in report.values())


@pytest.mark.requirement("C1")
def test_health_marks_contract_only_services(solo60: Solo60, monkeypatch: pytest.MonkeyPatch) -> None:
    """`health` marks a service that implements none of its methods as contract only."""
    monkeypatch.setattr(health, "is_contract_only", lambda name: name == "gym")
    lines = solo60("health").out.splitlines()

    noted = [line.split()[0] for line in lines if "contract only, not implemented" in line]
    assert noted == ["gym"]


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("command", [("call", "gym.ListGyms"), ("demo", "booking")])
def test_without_a_key_nothing_is_called(solo60: Solo60, tmp_path: Path, command: tuple[str, ...]) -> None:
    """`call` and `demo` without a key exit with 2, name the setting, and say how to get a key."""
    done = solo60(*command)

    assert done.exit_code == 2
    assert done.err == (
        f"SERVICE_API_KEY: not set, and there is no file {tmp_path}/keys/operator. "
        "Run `solo60 up`, which creates the file, or set the key that `solo60 keys issue` prints.\n"
    )


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("request_json", "words"),
    [
        ("{", "Failed to load JSON"),
        ("[]", "it must be a JSON object"),
        ("5", "it must be a JSON object"),
        ('{"gymid": "1"}', 'no field named "gymid"'),
        ('{"gymid": "1"}', "`solo60 describe gym.GetGym` shows its fields."),
        ('{"gym_id": 1}', "Failed to parse gym_id field"),
        ("@/nowhere/request.json", "/nowhere/request.json cannot be read: No such file or directory."),
    ],
)
def test_an_invalid_request_is_rejected_before_it_is_sent(solo60: Solo60, request_json: str, words: str) -> None:
    """`call` rejects malformed JSON, wrong fields and an unreadable file with exit code 1 and one line."""
    done = solo60("call", "gym.GetGym", request_json)

    assert (done.exit_code, done.out) == (1, "")
    assert words in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("header", ["two words=1", "größe=1", "x-size=größe", "x-bytes-bin=1", "=1", "x-size"])
def test_an_invalid_header_is_rejected(solo60: Solo60, header: str) -> None:
    """`call` rejects an invalid `--metadata` with exit code 1 and one line that names the option."""
    done = solo60("call", "gym.ListGyms", "--metadata", header)

    assert (done.exit_code, done.out) == (1, "")
    assert done.err.startswith("--metadata: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("command", [("up",), ("migrate",), ("keys", "issue", "gym"), ("call", "gym.ListGyms")])
def test_an_unusable_data_folder_is_named(
    solo60: Solo60, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A command with an unusable DATA_DIR fails with one line that names the path."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file" / "data"))

    done = solo60(*command)

    assert done.exit_code != 0
    assert str(tmp_path / "file") in done.err
    assert done.err.count("\n") == 1


@pytest.mark.requirement("C1")
def test_an_unknown_method_is_rejected_with_similar_ones(solo60: Solo60) -> None:
    """`call` rejects a method that is in no contract, and suggests a similar one."""
    done = solo60("call", "gym.GetGmy")

    assert done.exit_code == 1
    assert "Did you mean gym.GetGym" in done.err


def test_an_unknown_setting_is_named(solo60: Solo60, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A misspelt setting in `.env` stops a command with exit code 2, and the error suggests the right name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("GMY_SERVICE_URL=127.0.0.1:1\n")

    done = solo60("health")

    assert done.exit_code == 2
    assert done.err == "GMY_SERVICE_URL: unknown setting in .env. Did you mean GYM_SERVICE_URL?\n"


def test_an_empty_inbox_is_reported(solo60: Solo60) -> None:
    """`inbox` reports an empty inbox on standard error, and `inbox --json` prints an empty list."""
    assert solo60("inbox").err == "There is no mail yet.\n"
    assert json.loads(solo60("inbox", "--json").out) == []


def test_mail_is_found_by_either_form_of_an_address(solo60: Solo60, tmp_path: Path) -> None:
    """`inbox --to` finds mail by the Unicode form, the ASCII form, and a part of the recipient's address."""
    folder = load_settings().inbox_folder / "new"
    assert folder.is_relative_to(tmp_path)
    folder.mkdir(parents=True)
    head = f"{SENDER_HEADER}: <a@solo60.example>\n{RECIPIENT_HEADER}: user@xn--bcher-kva.example\n"
    (folder / "1.1_000001.localhost").write_text(f"{head}Subject: Hello\n\nHello\n")

    for to in ("user@bücher.example", "user@xn--bcher-kva.example", "user@", "bcher"):
        assert len(json.loads(solo60("inbox", "--to", to, "--json").out)) == 1
    assert json.loads(solo60("inbox", "--to", "user@bucher.example", "--json").out) == []


def test_a_mail_is_shown_as_html_and_a_malformed_one_hides_no_other(solo60: Solo60) -> None:
    """`inbox --html --json` adds the HTML of each mail. A malformed mail is named on standard error."""
    folder = load_settings().inbox_folder / "new"
    folder.mkdir(parents=True)
    head = f"{SENDER_HEADER}: <a@solo60.example>\n{RECIPIENT_HEADER}: ada@solo60.example\nMessage-ID: <1@x>\n"
    (folder / "1.1_000001.localhost").write_text(f"{head}Content-Type: text/html\n\n<p>Hello</p>\n")
    (folder / "2.1_000001.localhost").write_text(f"{head}Content-Type: ,;charset*\n\nHello\n")

    done = solo60("inbox", "--html", "--json")

    (mail,) = json.loads(done.out)
    assert (mail["mail_id"], mail["html"], mail["message_id"]) == ("1.1_000001.localhost", "<p>Hello</p>\n", "<1@x>")
    assert "This mail is malformed" in done.err
    assert "2.1_000001.localhost" in done.err


def test_an_unknown_trace_is_rejected(solo60: Solo60, tmp_path: Path) -> None:
    """`trace` with an unknown id exits with 1 and names the searched folder."""
    done = solo60("trace", "0" * 32)

    sentence = f"There is no trace {'0' * 32} in {tmp_path}/spans. List the latest traces with `solo60 trace`.\n"
    assert (done.exit_code, done.err) == (1, sentence)


def test_without_an_id_the_latest_traces_are_listed(solo60: Solo60, tmp_path: Path) -> None:
    """`trace` without an id lists the latest traces. Their trace ids and correlation ids then find the traces."""
    assert solo60("trace").err == "There are no traces yet.\n"
    assert json.loads(solo60("trace", "--json").out) == []
    (tmp_path / "spans").mkdir(exist_ok=True)
    ids = [f"{number:032x}" for number in (10, 11, 12)]
    (tmp_path / "spans" / "gym.jsonl").write_text("".join(map(stored_span, ids)))

    listed = solo60("trace", "-n", "2").out.splitlines()
    read = json.loads(solo60("trace", "--json").out)
    shown = solo60("trace", "order-17")

    assert [line.split()[0] for line in listed] == ["trace", *ids[1:]]
    assert [(each["trace_id"], each["name"], each["calls"]) for each in read] == [
        (id_, "GymService/GetGym", 1) for id_ in ids
    ]
    assert [line.split()[-1] for line in shown.out.splitlines() if line.startswith("trace ")] == ids
    assert [each["trace_id"] for each in json.loads(solo60("trace", "order-17", "--json").out)] == ids
    assert json.loads(solo60("trace", ids[0].upper(), "--json").out)[0]["trace_id"] == ids[0]


def test_listed_traces_are_filtered(solo60: Solo60, tmp_path: Path) -> None:
    """The options of `trace` select traces, and the latest `-n` of these are listed."""
    for number in range(6):
        error = "There is no gym with this id." if number % 2 else None
        write_spans(tmp_path / "spans", chain(number, BOOKING[: number + 1], start_ns=number * 10**9 + 1, error=error))
    write_spans(tmp_path / "spans", chain(6, start_ns=time.time_ns(), ms=2000))
    ids = [next(chain(number, start_ns=1)).trace_id for number in range(7)]

    def listed(*options: str) -> list[int]:
        return [ids.index(each["trace_id"]) for each in json.loads(solo60("trace", "--json", *options).out)]

    assert listed("--errors") == [1, 3, 5]
    assert listed("--errors", "-n", "2") == [3, 5]
    assert listed("--method", "payment.Charge") == [3, 4, 5, 6]
    assert listed("--service", "gym", "--errors") == [3, 5]
    assert listed("--slower-than", "100ms") == [6]
    assert listed("--since", "1h") == [6]
    assert listed("--caller", "ada") == []
    assert solo60("trace", "--caller", "ada").err == "No stored trace meets these conditions.\n"
    assert solo60("trace", "--slower-than", "fast").err.startswith('--slower-than: "fast" is not a duration such as')
    assert solo60("trace", ids[0], "--errors").err.startswith("ID: ")


def test_a_trace_is_shown_as_a_tree(solo60: Solo60, tmp_path: Path) -> None:
    """`trace ID` shows a line for each call, and `--json` also shows the attributes. Control characters are escaped."""
    spans = list(chain(1, BOOKING[:2], start_ns=10**18, error="There is no \x1b[31m[bold]user."))
    write_spans(tmp_path / "spans", spans)

    lines = solo60("trace", spans[0].trace_id).out.splitlines()
    shown = json.loads(solo60("trace", spans[0].trace_id, "--json").out)

    assert lines == [
        f"trace {spans[0].trace_id}",
        "└── solo60  call  100.0 ms",
        "    └── solo60 → session  BookSession  96.0 ms  (94.5 ms inside)",
        "        └── session → user  GetUser  92.0 ms  (90.5 ms inside)  There is no \\x1b[31m[bold]user.",
    ]
    assert shown[2]["attributes"]["rpc.status_code"] == "OK"
    assert shown[2]["caller"] == "operator"


def stored_span(trace_id: str) -> str:
    """Return a line of a span file."""
    span = {
        "trace_id": trace_id,
        "span_id": "1",
        "parent_id": None,
        "service": "gym",
        "name": "/solo60.gym.v1.GymService/GetGym",
        "kind": "SERVER",
        "start_ns": 10**18 + int(trace_id, 16),
        "end_ns": 10**18 + 10**6,
        "error": None,
        "correlation_id": "order-17",
    }
    return json.dumps(span) + "\n"


@pytest.mark.parametrize(("password", "exit_code"), [("secret", 1), ("secret/", 2), ("secret/word", 2)])
def test_an_unreachable_database_is_named(
    solo60: Solo60, monkeypatch: pytest.MonkeyPatch, password: str, exit_code: int
) -> None:
    """`migrate` names DATABASE_URL if it is unreachable or malformed, and never prints its password."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:{password}@127.0.0.1:1/app")

    done = solo60("migrate")

    assert done.exit_code == exit_code
    assert done.err.startswith("DATABASE_URL: ")
    assert "secret" not in done.err


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_id_of_a_trace_is_rejected(solo60: Solo60, blank: str) -> None:
    """`solo60 trace "$ID"` with an unset variable fails instead of printing every trace without a correlation id."""
    done = solo60("trace", blank)

    assert done.exit_code == 1
    assert done.err == "The id is blank. Give a trace id or a correlation id.\n"


def test_the_help_lists_every_verb(solo60: Solo60) -> None:
    """`solo60 --help` lists all verbs in the documented order."""
    listed = [line.split()[1] for line in solo60("--help").out.splitlines() if re.match(r"│ [a-z]", line)]

    assert listed == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_loads_only_its_own_verb(verb: str) -> None:
    """A command loads only its own verb, yet its app is a group, so that its usage still says `solo60 VERB`."""
    app = app_for([verb, "--help"])

    assert len(app.registered_commands) + len(app.registered_groups) == 1
    assert isinstance(get_command(app), TyperGroup)


def test_an_unknown_verb_is_rejected_with_similar_ones(solo60: Solo60) -> None:
    """A misspelt verb exits with 2, and the error suggests the right one."""
    done = solo60("kyes", "list")

    assert done.exit_code == 2
    assert "Did you mean 'keys'" in done.err


def fail_in_a_task_group() -> None:
    """Raise a group as a task group does, with an error of a service in an inner group."""
    raise ExceptionGroup("tasks", [ExceptionGroup("tasks", [PeriodPast()])])


def fail_by_a_fault() -> None:
    """Raise a group with a failure and a fault of the program."""
    raise ExceptionGroup("tasks", [PeriodPast(), ZeroDivisionError()])


def test_an_error_in_a_task_group_is_reported_like_any_other(solo60: Solo60, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's error in a task group ends the command with exit code 1, its reason and no traceback."""
    monkeypatch.setitem(VERBS, "seed", f"{__name__}:fail_in_a_task_group")
    done = solo60("seed")

    assert done.exit_code == 1
    assert "PERIOD_PAST" in done.err
    assert "Traceback" not in done.err


def test_a_fault_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the program ends the command with its traceback, even beside an error of a service."""
    monkeypatch.setitem(VERBS, "seed", f"{__name__}:fail_by_a_fault")
    monkeypatch.setattr("sys.argv", ["solo60", "seed"])

    with pytest.raises(ExceptionGroup, match="tasks"):
        main()
