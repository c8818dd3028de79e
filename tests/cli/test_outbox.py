from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING
from uuid import UUID

import grpc
import pytest

from contracts.errors import OutboxMessageNotFound, OutboxMessageSettled
from contracts.services import SERVICE_NAMES
from mesh.telemetry.spans import StoredSpan
from solo60.mesh.v1 import outbox_pb2 as pb
from tests.support.answers import Answer, stub_server
from tests.support.terminal import solo60_in_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Solo60

pytestmark = pytest.mark.usefixtures("operator_key")
PATH = "/solo60.mesh.v1.OutboxService/"
WIDTHS = (40, 80, 130, 250)
ERROR = "UNAVAILABLE [errno 111] connection refused by solo60.communication.v1.CommunicationService/SendEmailAsync"


def message(number: int) -> pb.OutboxMessage:
    """Return a dead letter with an id made from `number`."""
    found = pb.OutboxMessage(
        message_id=str(UUID(int=2**120 + number)),
        destination="solo60.communication.v1.CommunicationService/SendEmailAsync",
        status=pb.OUTBOX_STATUS_DEAD,
        attempts=7,
        last_error=ERROR,
    )
    found.settle_time.FromSeconds(1_800_000_000)
    return found


@contextmanager
def outboxes(*silent: str) -> Iterator[dict[str, str]]:
    """Serve every service but `silent`, each outbox with one dead letter; yield the message ids by service."""
    ids: dict[str, str] = {}
    with ExitStack() as stack:
        for number, name in enumerate(SERVICE_NAMES):
            if name in silent:
                continue
            ids[name] = message(number).message_id
            answers = {PATH + "ListMessages": Answer(pb.ListMessagesResponse(messages=[message(number)]))}
            stack.enter_context(stub_server(os.environ[f"{name.upper()}_SERVICE_URL"], answers))
        yield ids


def test_a_dead_service_does_not_hide_the_others(solo60: Solo60) -> None:
    """`outbox list` shows the dead letters of all running services, names the dead service, and exits with 1."""
    with outboxes("session") as ids:
        shown = solo60("outbox", "list")
        read = solo60("outbox", "list", "--json")

    assert shown.exit_code == read.exit_code == 1
    assert all(id_ in shown.out for id_ in ids.values())
    assert {each["service"]: each["message_id"] for each in json.loads(read.out)} == ids
    for done in (shown, read):
        assert next(line for line in done.err.splitlines() if "did not answer" in line).startswith(
            "session did not answer: UNAVAILABLE: "
        )
        assert "There are no messages" not in done.err


def test_without_any_service_every_service_is_named(solo60: Solo60) -> None:
    """`outbox list --json` without a running service names every service and the next command, and exits with 1."""
    done = solo60("outbox", "list", "--json")

    assert (done.exit_code, json.loads(done.out)) == (1, [])
    assert done.err.count(" did not answer: UNAVAILABLE: ") == len(SERVICE_NAMES)
    assert done.err.rstrip().endswith("Next: `make run`")


def test_listing_succeeds_when_every_service_answers(solo60: Solo60) -> None:
    """`outbox list` exits with 0 if every service answers, and if the one named service answers."""
    with outboxes() as ids:
        everything = solo60("outbox", "list")
        one = solo60("outbox", "list", "gym", "--json")

    assert everything.exit_code == one.exit_code == 0
    assert [each["message_id"] for each in json.loads(one.out)] == [ids["gym"]]


@pytest.mark.usefixtures("solo60")
@pytest.mark.parametrize("columns", WIDTHS)
def test_nothing_is_shortened_in_any_terminal(columns: int) -> None:
    """`outbox list` shortens no id, destination or error at 40 to 250 columns."""
    with outboxes() as ids:
        code, shown = solo60_in_terminal("outbox", "list", columns=columns)

    assert code == 0
    assert all(id_ in shown for id_ in ids.values())
    assert "…" not in shown
    assert "CommunicationService/SendEmailAsync" in shown
    assert ERROR.rsplit(maxsplit=1)[-1].replace(".", "") in "".join(shown.replace(".", "").split())
    assert "[errno" in shown


def test_a_pipe_gets_each_message_on_one_line(solo60: Solo60) -> None:
    """`outbox list` prints each message on one line outside a terminal, so that `grep` finds id and error together."""
    with outboxes() as ids:
        lines = solo60("outbox", "list").out.splitlines()

    assert len(lines) == 1 + len(ids)
    assert all(ERROR in line for line in lines[1:])


def test_retry_reports_the_number_of_messages_and_rejections(solo60: Solo60) -> None:
    """`outbox retry --all` reports the number of retried messages. A rejected retry by id exits with 1."""
    settled = Answer(pb.RetryMessageResponse(), code=grpc.StatusCode.FAILED_PRECONDITION)
    page = pb.ListMessagesResponse(messages=[message(1)])
    answers = {PATH + "ListMessages": Answer(page), PATH + "RetryMessage": Answer(pb.RetryMessageResponse())}
    with stub_server(os.environ["GYM_SERVICE_URL"], answers):
        done = solo60("outbox", "retry", "gym", "--all")
    with stub_server(os.environ["GYM_SERVICE_URL"], {**answers, PATH + "RetryMessage": settled}):
        refused = solo60("outbox", "retry", "gym", message(1).message_id)

    assert "1 message of gym due now.\n" in done.err
    assert (done.exit_code, refused.exit_code) == (0, 1)


def test_retry_all_skips_messages_settled_meanwhile(solo60: Solo60) -> None:
    """`outbox retry --all` skips a message that was delivered or dropped after it was listed, and retries the rest."""
    page = pb.ListMessagesResponse(messages=[message(number) for number in range(4)])
    retried = Answer(pb.RetryMessageResponse())
    answers: dict[str, Answer | list[Answer]] = {
        PATH + "ListMessages": Answer(page),
        PATH + "RetryMessage": [
            retried,
            Answer.of_error(OutboxMessageSettled()),
            Answer.of_error(OutboxMessageNotFound()),
            retried,
        ],
    }
    with stub_server(os.environ["GYM_SERVICE_URL"], answers):
        done = solo60("outbox", "retry", "gym", "--all")

    assert done.exit_code == 0
    assert "2 messages of gym due now.\n" in done.err


def test_a_summary_counts_the_messages_of_each_service(solo60: Solo60) -> None:
    """`outbox summary` shows backlog, dead letters and next work of each service. It names silent services."""
    backlog = pb.GetBacklogResponse(
        pending=[pb.PendingMessages(destination="any.Service/Method", count=3, due_count=2)],
        dead_letters=[pb.DeadLetters(destination="any.Service/Method", last_error=ERROR, count=4)],
    )
    backlog.now.FromSeconds(1_800_000_060)
    backlog.pending[0].oldest_due_time.FromMilliseconds(1_800_000_000_500)
    schedule = pb.GetScheduleResponse(due_timers=["mails"], next_due_timer="expired holds")
    schedule.next_due_time.FromSeconds(1_800_000_120)
    answers = {PATH + "GetBacklog": Answer(backlog), PATH + "GetSchedule": Answer(schedule)}
    with stub_server(os.environ["GYM_SERVICE_URL"], answers):
        shown = solo60("outbox", "summary")
        read = solo60("outbox", "summary", "--json")

    assert (shown.exit_code, read.exit_code) == (1, 1)
    assert " ".join(shown.out.splitlines()[1].split()) == (
        "gym 3 2 59.5 s 4 mails 2027-01-15 08:02:00 UTC: expired holds"
    )
    assert "session did not answer: UNAVAILABLE: " in shown.err
    (state,) = json.loads(read.out)
    assert (state["service"], state["pending_count"], state["due_count"], state["dead_count"]) == ("gym", 3, 2, 4)
    assert (state["oldest_due_age_s"], state["due_timers"]) == (59.5, ["mails"])
    assert (state["next_due_time"], state["next_work"]) == ("2027-01-15T08:02:00Z", "expired holds")
    assert state["dead_letters"][0]["last_error"] == ERROR


def test_a_message_is_shown_with_its_history(solo60: Solo60, tmp_path: Path) -> None:
    """`outbox show` prints the relay's log lines and the calls in the trace between the times in the outbox."""
    found = message(1)
    found.correlation_id, found.trace_id = "c-1", "1" * 32
    found.create_time.FromSeconds(1_799_999_990)
    (tmp_path / "logs").mkdir()
    line = {"event": "message is now a dead letter", "attempts": 7, "error": ERROR, "correlation_id": "c-1"}
    lines = [
        {**line, "timestamp": "2027-01-15T07:59:59Z", "message_id": found.message_id},
        {**line, "timestamp": "2027-01-15T07:59:59Z", "message_id": "another"},
    ]
    (tmp_path / "logs" / "gym.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    action = {"event": "action", "action": "Retry", "caller": "ada", "target": f"gym/{found.message_id}"}
    (tmp_path / "logs" / "console.jsonl").write_text(json.dumps({**action, "timestamp": "2027-01-15T07:59:57Z"}) + "\n")
    span = StoredSpan(
        "1" * 32, "2" * 16, None, "gym", found.destination, "CLIENT", 1_799_999_998 * 10**9, 1_799_999_999 * 10**9, None
    )
    (tmp_path / "spans").mkdir()
    (tmp_path / "spans" / "gym.jsonl").write_text(json.dumps(asdict(span)) + "\n")
    answer = Answer(pb.GetMessageResponse(message=found, payload_json="{}"))
    with stub_server(os.environ["GYM_SERVICE_URL"], {PATH + "GetMessage": answer}):
        shown = solo60("outbox", "show", "gym", found.message_id)
        read = solo60("outbox", "show", "gym", found.message_id, "--json")

    history = json.loads(read.out)["history"]
    assert [(each["event"], each["source"]) for each in history] == [
        ("written", "outbox"),
        ("action", "log"),
        ("called", "trace"),
        ("message is now a dead letter", "log"),
        ("given up", "outbox"),
    ]
    assert [history[1]["detail"], history[2]["detail"]] == ["Retry by ada", "OK, 1000.0 ms"]
    assert "  2027-01-15 07:59:58 UTC  called  OK, 1000.0 ms\n" in shown.out


def test_a_relay_for_an_unknown_service_is_rejected(solo60: Solo60) -> None:
    """`relay` of an unknown service starts nothing, and the error lists all services."""
    done = solo60("relay", "nobody")

    assert (done.exit_code, done.out) == (1, "")
    assert done.err.startswith('"nobody" is not a service. Services: auth, ')
