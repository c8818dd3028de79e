from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from interceptors.keyring import mint_key
from tests.support.local_mesh import wait_for

if TYPE_CHECKING:
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system


@pytest.mark.requirement("J1", "S5")
def test_the_demo_shows_everything_it_promises(local_mesh: LocalMesh) -> None:
    """A booking, its mails, one trace over six processes, and two refusals; then again on what that left."""
    first = json.loads(local_mesh.solo60("demo", "booking", "--json").stdout)
    done = local_mesh.solo60("demo", "booking", "--json")
    second = json.loads(done.stdout)

    assert done.returncode == 0
    assert second["status"] == "SESSION_STATUS_CONFIRMED"
    assert [mail["subject"].partition(":")[0] for mail in second["mails"]] == ["Booked", "Please mind the noise"]
    assert {hop["service"] for hop in second["hops"]} == {"session", "user", "gym", "payment", "communication"}
    assert second["same_slot_again"]["reason"] == "SLOT_TAKEN"
    assert second["without_a_key"]["reason"] == "UNAUTHENTICATED"
    assert second["start_time"] != first["start_time"]


def test_the_demo_is_readable_by_people(local_mesh: LocalMesh) -> None:
    """The mail as the member reads it, the trace as a tree, the refusals by their reasons."""
    shown = local_mesh.solo60("demo", "booking").stdout

    assert "Hello Dana Demo," in shown
    assert "session → payment  ChargeSession" in shown
    assert "ms inside)" in shown
    assert "SLOT_TAKEN" in shown
    assert "UNAUTHENTICATED" in shown


@pytest.mark.requirement("S5")
def test_a_trace_and_a_mail_can_be_looked_at_later(local_mesh: LocalMesh) -> None:
    """`solo60 trace` prints the tree again, `solo60 inbox` the mail."""
    demo = json.loads(local_mesh.solo60("demo", "booking", "--json").stdout)

    assert "BookSession" in local_mesh.solo60("trace", demo["trace_id"]).stdout
    member = demo["mails"][0]["to"]
    mails = json.loads(local_mesh.solo60("inbox", "--to", member, "--json").stdout)
    assert [mail["recipient"] for mail in mails] == [member, member]
    assert len(json.loads(local_mesh.solo60("inbox", "--to", member, "-n", "1", "--json").stdout)) == 1


def test_a_request_is_followed_by_its_correlation_id(local_mesh: LocalMesh) -> None:
    """The id that a refusal shows leads to the trace, and to the lines of every service that took part."""
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
    # A busy machine may have made the call hedge: then there are two of them.
    lines = list(map(json.loads, shown("logs", "--correlation", correlation_id, "--json").splitlines()))
    assert {(line["service"], line["correlation_id"]) for line in lines} == {("gym", correlation_id)}
    assert "NOT_FOUND" in {line["code"] for line in lines}
    assert correlation_id in shown("logs", "gym", "-n", "500")
    assert correlation_id in [each["correlation_id"] for each in json.loads(shown("trace", "-n", "500", "--json"))]


def test_the_database_of_a_service_is_a_verb_away(local_mesh: LocalMesh) -> None:
    """`solo60 psql` finds the running mesh's PostgreSQL."""
    done = local_mesh.solo60("psql", "gym", "--", "--csv", "-t", "-c", "select current_user, current_database()")

    assert (done.returncode, done.stdout) == (0, "solo60,solo60_gym\n")


@pytest.mark.requirement("C2")
def test_an_answer_is_printed_as_json(local_mesh: LocalMesh) -> None:
    """Names as the contract has them, defaults included; the request may come by a pipe or a file."""
    email = f"{uuid4()}@solo60.example"
    request = json.dumps({"email": email, "display_name": "Call Test"})

    answer = json.loads(local_mesh.solo60("call", "user.CreateUser", request).stdout)

    assert answer["user"]["display_name"] == "Call Test"
    assert answer["user"]["email_confirmed"] is False


@pytest.mark.requirement("S6")
def test_a_repeated_call_with_one_idempotency_key_acts_once(local_mesh: LocalMesh) -> None:
    """`--metadata` sends the caller's own key."""
    request = json.dumps({"email": f"{uuid4()}@solo60.example", "display_name": "Once"})
    options = ("--metadata", f"idempotency-key={uuid4()}", "--json")

    first, second = (local_mesh.solo60("call", "user.CreateUser", request, *options).stdout for _ in range(2))

    assert json.loads(first) == json.loads(second)


@pytest.mark.requirement("C3")
def test_a_bad_request_is_answered_with_its_fields(local_mesh: LocalMesh) -> None:
    """One violation for each field, and the correlation id; exit code 1."""
    done = local_mesh.solo60("call", "gym.GetGym", '{"gym_id": "nope"}')

    assert (done.returncode, done.stdout) == (1, "")
    assert "INVALID_ARGUMENT INVALID_REQUEST" in done.stderr
    assert "  gym_id: must be a valid UUID" in done.stderr
    assert "correlation id: " in done.stderr


@pytest.mark.requirement("L2")
def test_an_error_can_be_read_by_a_script(local_mesh: LocalMesh) -> None:
    """With --json the error is an object on standard output."""
    done = local_mesh.solo60("call", "gym.GetGym", json.dumps({"gym_id": str(uuid4())}), "--json")

    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1
    assert (error["code"], error["reason"]) == ("NOT_FOUND", "GYM_NOT_FOUND")
    assert error["correlation_id"]


def test_a_call_tells_where_its_time_went(local_mesh: LocalMesh) -> None:
    """`--ledger` prints every hop on standard error, a callee below its caller."""
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


@pytest.mark.requirement("C1")
def test_a_contract_only_method_says_so(local_mesh: LocalMesh) -> None:
    """UNIMPLEMENTED, by name."""
    done = local_mesh.solo60("call", "auth.LogIn")

    assert done.returncode == 1
    assert "solo60.auth.v1.AuthService/LogIn is in the contract, but no service implements it yet." in done.stderr


@pytest.mark.requirement("C2")
def test_a_stream_prints_one_object_a_line_until_its_time_is_up(local_mesh: LocalMesh) -> None:
    """What has arrived is printed at once; the deadline ends the call."""
    period = {"start_time": "2030-01-01T10:00:00Z", "end_time": "2030-01-02T10:00:00Z"}
    request = json.dumps({"gym_id": str(uuid4()), "period": period})

    done = local_mesh.solo60("call", "session.WatchAvailability", request, "--timeout", "1")

    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"busy_periods": []}]
    assert "DEADLINE_EXCEEDED" in done.stderr


@pytest.mark.requirement("S1")
def test_a_key_of_a_service_opens_what_its_contract_says_and_no_more(local_mesh: LocalMesh) -> None:
    """`--as` calls with a service's own key."""
    allowed = local_mesh.solo60("call", "gym.ListGyms", "--as", "session")
    refused = local_mesh.solo60("call", "gym.ListGyms", "--as", "gym")

    assert allowed.returncode == 0
    assert refused.returncode == 1
    assert "PERMISSION_DENIED SCOPE_MISSING" in refused.stderr


@pytest.mark.requirement("S1")
def test_a_wrong_key_opens_nothing(local_mesh: LocalMesh) -> None:
    """A well-formed key that nobody issued is no key."""
    done = local_mesh.solo60("call", "gym.ListGyms", service_api_key=mint_key("dev"))

    assert done.returncode == 1
    assert "UNAUTHENTICATED" in done.stderr


@pytest.mark.requirement("S2")
def test_keys_rotate_without_a_failed_call(local_mesh: LocalMesh) -> None:
    """The session service changes its key while it books, and every booking succeeds."""
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
    """`solo60 migrate` finds the running mesh's PostgreSQL, and has nothing left to do."""
    done = local_mesh.solo60("migrate", "--json")

    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {
        "auth", "user", "gym", "session", "payment", "subscription", "communication",
    }  # fmt: skip
    assert not any(json.loads(done.stdout).values())


def test_doctor_finds_nothing_wrong_with_a_running_mesh(local_mesh: LocalMesh) -> None:
    """Every invariant holds in every database, migrations are applied, and no service is a superuser."""
    done = local_mesh.solo60("doctor", "--json")

    assert done.returncode == 0, done.stdout
    assert all(entry["sound"] for entry in json.loads(done.stdout).values())
