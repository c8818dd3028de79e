from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2

from cli.terminal import print_service_error
from contracts.errors import RateLimited, Unavailable
from interceptors.deadline.ledger import DEADLINE_LEDGER
from mesh.serving.health import Health
from operations.calls.requests import service_error_as_json
from solo60.gym.v1.gym_pb2 import ListGymsResponse
from tests.support.answers import Answer, stub_server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cli.conftest import Result, Solo60

LIST_GYMS = "/solo60.gym.v1.GymService/ListGyms"
QUOTE_PRICE = "solo60.gym.v1.GymService/QuotePrice"
LEDGER = "solo60.gym.v1.GymService/ListGyms 3/2000, >solo60.user.v1.UserService/GetUser 2/1000?"

LEDGER_LINES = """\
solo60.gym.v1.GymService/ListGyms took 3 of 2000 ms
  solo60.user.v1.UserService/GetUser took 2 of 1000 ms (measured by its caller: no answer)
"""


def run_with_answers(solo60: Solo60, name: str, answers: Mapping[str, Answer], *arguments: str) -> Result:
    """Run a command against a service with these answers."""
    with stub_server(os.environ[f"{name.upper()}_SERVICE_URL"], answers):
        return solo60(*arguments)


@pytest.mark.usefixtures("operator_key")
def test_a_call_prints_its_ledger_on_request(solo60: Solo60) -> None:
    """`call --ledger` prints one line per hop on standard error. Standard output is the same as without the option."""
    answers = {LIST_GYMS: Answer(ListGymsResponse(), ((DEADLINE_LEDGER, LEDGER),))}

    asked = run_with_answers(solo60, "gym", answers, "call", "gym.ListGyms", "--json", "--ledger")
    unasked = run_with_answers(solo60, "gym", answers, "call", "gym.ListGyms", "--json")

    assert (asked.exit_code, asked.err) == (0, LEDGER_LINES)
    assert json.loads(asked.out) == json.loads(unasked.out) == {"gyms": [], "next_page_token": ""}
    assert unasked.err == ""


@pytest.mark.usefixtures("operator_key")
def test_a_call_that_exceeds_its_deadline_prints_its_ledger(solo60: Solo60) -> None:
    """A call that exceeds its deadline prints its ledger, if it has one, even without `--ledger`."""
    late = grpc.StatusCode.DEADLINE_EXCEEDED
    with_ledger = {LIST_GYMS: Answer(ListGymsResponse(), ((DEADLINE_LEDGER, LEDGER),), late)}
    without = {LIST_GYMS: Answer(ListGymsResponse(), (), late)}

    result_with_ledger = run_with_answers(solo60, "gym", with_ledger, "call", "gym.ListGyms")
    result_without_ledger = run_with_answers(solo60, "gym", without, "call", "gym.ListGyms", "--ledger")

    assert result_with_ledger.exit_code == result_without_ledger.exit_code == 1
    assert result_with_ledger.err.startswith(LEDGER_LINES + "DEADLINE_EXCEEDED: ")
    assert result_without_ledger.err.startswith("DEADLINE_EXCEEDED: ")


@pytest.mark.usefixtures("operator_key")
def test_an_unanswered_call_prints_no_ledger(solo60: Solo60) -> None:
    """A call to an unreachable service prints UNAVAILABLE and how to start a mesh, even with `--ledger`."""
    done = solo60("call", "gym.ListGyms", "--ledger", "--timeout", "5")

    assert done.exit_code == 1
    assert done.err.startswith("UNAVAILABLE: ")
    assert "Not reachable, and no mesh runs in DATA_DIR. Next: `make run`" in done.err


def test_health_names_open_breakers_dead_letters_and_troubles(solo60: Solo60) -> None:
    """`health` reports open breakers, dead letters and troubles of a SERVING service, as text and as JSON."""
    breakers = {QUOTE_PRICE: "open", "b/B": "half-open", "c/C": "closed"}
    listed = Health("", lambda: breakers, lambda: {"d/D": 1}, lambda: ["mail was given up"]).all_statuses()
    entry = health_pb2.HealthCheckResponse
    answers = {
        "/grpc.health.v1.Health/Check": Answer(entry(status=entry.SERVING)),
        "/grpc.health.v1.Health/List": Answer(
            health_pb2.HealthListResponse(statuses={name: entry(status=status) for name, status in listed.items()})  # type: ignore[attr-defined]  # missing in the package's type stubs
        ),
    }

    shown = run_with_answers(solo60, "session", answers, "health")
    report = json.loads(run_with_answers(solo60, "session", answers, "health", "--json").out)

    assert shown.out.splitlines()[-4:] == [
        "session: mail was given up",
        "session: breaker half-open: b/B",
        f"session: breaker open: {QUOTE_PRICE}",
        "session: dead letters: d/D (solo60 outbox list session --dead)",
    ]
    assert report["session"]["status"] == "SERVING"
    assert report["session"]["breakers"] == {QUOTE_PRICE: "open", "b/B": "half-open"}
    assert report["session"]["dead_letters"] == ["d/D"]
    assert report["session"]["troubles"] == ["mail was given up"]
    assert "breakers" not in report["gym"]


def test_health_of_a_server_without_health_list_shows_its_status(solo60: Solo60) -> None:
    """`health --json` reports only the status of an older server without Health.List."""
    entry = health_pb2.HealthCheckResponse
    answers = {"/grpc.health.v1.Health/Check": Answer(entry(status=entry.SERVING))}

    report = json.loads(run_with_answers(solo60, "session", answers, "health", "--json").out)

    assert report["session"]["status"] == "SERVING"
    assert "breakers" not in report["session"]


def test_an_error_shows_its_retry_delay(capfd: pytest.CaptureFixture[str]) -> None:
    """A RateLimited error shows its retry delay in the printed text and as `retry_after_s` in JSON."""
    error = RateLimited("Too many calls.", retry_after_s=0.25)

    print_service_error(error)

    assert capfd.readouterr().err == "RESOURCE_EXHAUSTED RATE_LIMITED: Too many calls.\n  retry after: 0.250 s\n"
    assert service_error_as_json(error)["retry_after_s"] == 0.25


def test_a_reason_with_the_name_of_its_code_is_printed_once(capfd: pytest.CaptureFixture[str]) -> None:
    """The printed text of an error contains the reason only if it differs from the code."""
    print_service_error(Unavailable("Not now."))

    assert capfd.readouterr().err == "UNAVAILABLE: Not now.\n"
