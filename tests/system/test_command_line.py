from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.services import SERVICE_NAMES
from interceptors.keys.keyring import mint_key
from tests.support.local_mesh import wait_for

if TYPE_CHECKING:
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system


@pytest.mark.requirement("J1", "S5")
def test_the_demo_shows_a_booking_its_mails_its_trace_and_rejections(local_mesh: LocalMesh) -> None:
    """`demo booking` shows a booking, two mails, a trace over five services and two rejections, also a second time."""
    first = json.loads(local_mesh.solo60("demo", "booking", "--json").stdout)
    done = local_mesh.solo60("demo", "booking", "--json")
    second = json.loads(done.stdout)

    assert done.returncode == 0
    booked, same_slot_again, without_a_key = second["steps"]
    assert booked["facts"]["status"] == "confirmed"
    assert [mail["subject"].partition(":")[0] for mail in booked["mails"]] == ["Booked", "Please mind the noise"]
    assert {hop["service"] for hop in booked["hops"]} == {"session", "user", "gym", "payment", "communication"}
    assert same_slot_again["facts"]["error"] == "SLOT_TAKEN"
    assert without_a_key["facts"]["error"] == "UNAUTHENTICATED"
    assert booked["facts"]["start_time"] != first["steps"][0]["facts"]["start_time"]


def test_the_demo_prints_mail_trace_and_rejections_as_text(local_mesh: LocalMesh) -> None:
    """`demo booking` prints the mail's text, the trace with durations, and the reason of each rejection."""
    shown = local_mesh.solo60("demo", "booking").stdout

    assert "to Dana Demo: Booked: Field Street Gym, " in shown
    assert "Price:  10 credits" in shown
    assert "session → payment  ChargeSession" in shown
    assert "ms inside)" in shown
    assert "SLOT_TAKEN" in shown
    assert "UNAUTHENTICATED" in shown


@pytest.mark.requirement("S5")
def test_a_trace_and_a_mail_can_be_shown_later(local_mesh: LocalMesh) -> None:
    """After a demo, `solo60 trace` shows its trace, and `solo60 inbox` lists both of its mails."""
    booked = json.loads(local_mesh.solo60("demo", "booking", "--json").stdout)["steps"][0]

    assert "BookSession" in local_mesh.solo60("trace", booked["trace_id"]).stdout
    member = booked["mails"][0]["to"]
    mails = json.loads(local_mesh.solo60("inbox", "--to", member, "--json").stdout)
    assert [mail["recipient"] for mail in mails] == [member, member]
    assert len(json.loads(local_mesh.solo60("inbox", "--to", member, "-n", "1", "--json").stdout)) == 1


def test_a_request_is_found_by_its_correlation_id(local_mesh: LocalMesh) -> None:
    """The correlation id in an error finds the call's trace and its log lines."""
    done = local_mesh.solo60("call", "gym.GetGym", json.dumps({"gym_id": str(uuid4())}), "--json")
    correlation_id = json.loads(done.stdout)["error"]["correlation_id"]

    def shown(*arguments: str) -> str:
        found = ""

        def is_there() -> bool:
            nonlocal found
            found = local_mesh.solo60(*arguments).stdout
            return "GetGym" in found

        wait_for(is_there)
        return found

    assert "There is no gym with this id." in shown("trace", correlation_id)
    # On a busy machine the call may be hedged, which adds a second line.
    lines = list(map(json.loads, shown("logs", "--correlation", correlation_id, "--json").splitlines()))
    assert {(line["service"], line["correlation_id"]) for line in lines} == {("gym", correlation_id)}
    assert "NOT_FOUND" in {line["code"] for line in lines}
    assert correlation_id in shown("logs", "gym", "-n", "500")
    assert correlation_id in [each["correlation_id"] for each in json.loads(shown("trace", "-n", "500", "--json"))]


def test_psql_connects_to_the_database_of_a_running_mesh(local_mesh: LocalMesh) -> None:
    """`solo60 psql gym` connects to the gym database of the running mesh as the services' role."""
    done = local_mesh.solo60("psql", "gym", "--", "--csv", "-t", "-c", "select current_user, current_database()")

    assert (done.returncode, done.stdout) == (0, "solo60,solo60_gym\n")


@pytest.mark.requirement("C2")
def test_an_answer_is_printed_as_json(local_mesh: LocalMesh) -> None:
    """`call` prints the answer as JSON with the contract's field names and with default values."""
    email = f"{uuid4()}@solo60.example"
    request = json.dumps({"email": email, "display_name": "Call Test"})

    answer = json.loads(local_mesh.solo60("call", "user.CreateUser", request).stdout)

    assert answer["user"]["display_name"] == "Call Test"
    assert answer["user"]["email_confirmed"] is False


@pytest.mark.requirement("S6")
def test_a_repeated_call_with_the_same_idempotency_key_acts_once(local_mesh: LocalMesh) -> None:
    """Two calls with the same `idempotency-key` in `--metadata` return the same answer."""
    request = json.dumps({"email": f"{uuid4()}@solo60.example", "display_name": "Once"})
    options = ("--metadata", f"idempotency-key={uuid4()}", "--json")

    first, second = (local_mesh.solo60("call", "user.CreateUser", request, *options).stdout for _ in range(2))

    assert json.loads(first) == json.loads(second)


@pytest.mark.requirement("C3")
def test_a_bad_request_is_answered_with_its_fields(local_mesh: LocalMesh) -> None:
    """An invalid request exits with 1 and prints each violated field and the correlation id."""
    done = local_mesh.solo60("call", "gym.GetGym", '{"gym_id": "nope"}')

    assert (done.returncode, done.stdout) == (1, "")
    assert "INVALID_ARGUMENT INVALID_REQUEST" in done.stderr
    assert "  gym_id: must be a valid UUID" in done.stderr
    assert "correlation id: " in done.stderr


@pytest.mark.requirement("L2")
def test_an_error_is_printed_as_json(local_mesh: LocalMesh) -> None:
    """`call --json` prints an error as a JSON object on standard output and exits with 1."""
    done = local_mesh.solo60("call", "gym.GetGym", json.dumps({"gym_id": str(uuid4())}), "--json")

    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1
    assert (error["code"], error["reason"]) == ("NOT_FOUND", "GYM_NOT_FOUND")
    assert error["correlation_id"]


def test_a_call_prints_its_ledger(local_mesh: LocalMesh) -> None:
    """`call --ledger` prints the time of every hop on standard error, with callees indented below their caller."""
    request = {
        "user_id": str(uuid4()),
        "gym_id": str(uuid4()),
        "period": {"start_time": "2100-01-01T10:00:00Z", "end_time": "2100-01-01T11:00:00Z"},
        "payment_method": {"credits": {}},
    }

    done = local_mesh.solo60("call", "session.BookSession", json.dumps(request), "--ledger")

    lines = done.stderr.splitlines()
    assert lines[0].startswith("solo60.session.v1.SessionService/BookSession took ")
    assert any(line.startswith("  solo60.") and " took " in line for line in lines)


@pytest.mark.requirement("C2")
def test_a_stream_prints_one_object_per_line_until_its_deadline(local_mesh: LocalMesh) -> None:
    """`call` prints each message of a stream on its own line, until DEADLINE_EXCEEDED ends the call."""
    period = {"start_time": "2030-01-01T10:00:00Z", "end_time": "2030-01-02T10:00:00Z"}
    request = json.dumps({"gym_id": str(uuid4()), "period": period})

    done = local_mesh.solo60("call", "session.WatchAvailability", request, "--timeout", "1")

    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"busy_periods": []}]
    assert "DEADLINE_EXCEEDED" in done.stderr


@pytest.mark.requirement("S1")
def test_a_key_of_a_service_permits_only_the_calls_of_its_contract(local_mesh: LocalMesh) -> None:
    """`call --as session` may list gyms, because session's contract calls that method; `call --as gym` may not."""
    allowed = local_mesh.solo60("call", "gym.ListGyms", "--as", "session")
    refused = local_mesh.solo60("call", "gym.ListGyms", "--as", "gym")

    assert allowed.returncode == 0
    assert refused.returncode == 1
    assert "PERMISSION_DENIED SCOPE_MISSING" in refused.stderr


@pytest.mark.requirement("S1")
def test_an_unknown_key_is_rejected(local_mesh: LocalMesh) -> None:
    """A well-formed key that is not in the keyring is rejected with UNAUTHENTICATED."""
    done = local_mesh.solo60("call", "gym.ListGyms", service_api_key=mint_key("dev"))

    assert done.returncode == 1
    assert "UNAUTHENTICATED" in done.stderr


@pytest.mark.requirement("S2")
def test_keys_rotate_without_a_failed_call(local_mesh: LocalMesh) -> None:
    """Every booking succeeds while the session service's key is rotated three times."""
    over = threading.Event()
    failed: list[str] = []
    booked = 0

    def book_on() -> None:
        nonlocal booked
        while not over.is_set():
            done = local_mesh.solo60("demo", "booking", "--json")
            booked += done.returncode == 0
            if done.returncode != 0:
                failed.append(done.stderr)

    booking = threading.Thread(target=book_on)
    booking.start()
    rotated = [local_mesh.solo60("keys", "rotate", "session", "--overlap", "1h").returncode for _ in range(3)]
    over.set()
    booking.join()

    assert rotated == [0, 0, 0]
    assert (failed, booked > 0) == ([], True)


def test_the_databases_of_a_running_mesh_are_up_to_date(local_mesh: LocalMesh) -> None:
    """`solo60 migrate` finds no pending migration in any database of a running mesh."""
    done = local_mesh.solo60("migrate", "--json")

    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == set(SERVICE_NAMES)
    assert not any(json.loads(done.stdout).values())


def test_doctor_finds_nothing_wrong_with_a_running_mesh(local_mesh: LocalMesh) -> None:
    """`solo60 doctor` reports every database of a running mesh as sound."""
    done = local_mesh.solo60("doctor", "--json")

    assert done.returncode == 0, done.stdout
    assert all(entry["sound"] for entry in json.loads(done.stdout).values())
