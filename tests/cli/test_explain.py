from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from contracts.service_config import service_config
from contracts.services import SERVICES

if TYPE_CHECKING:
    from tests.cli.conftest import Solo60


def test_explain_shows_the_source_of_each_policy_value(solo60: Solo60, monkeypatch: pytest.MonkeyPatch) -> None:
    """`explain` shows the contract and the setting behind a policy value, without a running mesh."""
    monkeypatch.setenv("DEADLINE_FACTOR", "2")

    lines = solo60("explain", "gym.GetGym").out.splitlines()
    report = json.loads(solo60("explain", "gym.GetGym", "--json").out)

    assert lines[0] == "solo60.gym.v1.GymService/GetGym"
    assert lines[2].split() == ["deadline", "2", "s", "contract:", "1", "s,", "times", "DEADLINE_FACTOR:", "2"]
    assert report["policy"][0] == {
        "name": "deadline",
        "value": "2 s",
        "source": "contract: 1 s, times DEADLINE_FACTOR: 2",
    }


def test_explain_shows_callers_callees_and_the_service_config(solo60: Solo60, monkeypatch: pytest.MonkeyPatch) -> None:
    """`explain` shows both ends of a method's edges with effective deadlines, and the service config of its calls."""
    monkeypatch.setenv("DEADLINE_FACTOR", "2")

    shown = solo60("explain", "session.SendSessionMail").out
    read = json.loads(solo60("explain", "session.SendSessionMail", "--json").out)

    assert {"name": "solo60.session.v1.SessionService/BookSession", "kind": "calls_later"} in read["callers"]
    assert read["callees"][0] == {"name": "solo60.user.v1.UserService/GetUser", "kind": "calls", "deadline_s": 2.0}
    rows = [line.split() for line in shown.splitlines()]
    assert ["session.BookSession", "calls_later"] in rows
    assert ["user.GetUser", "calls", "2", "s"] in rows
    assert not [row for row in rows if row[:1] in (["calls"], ["calls_later"])]


def test_explain_shows_the_service_config_of_one_method(solo60: Solo60) -> None:
    """The service config in `explain` is that of the channel, with the retries of this method only."""
    read = json.loads(solo60("explain", "gym.GetGym", "--json").out)["service_config"]
    shown = solo60("explain", "gym.GetGym").out
    whole = json.loads(service_config(SERVICES["gym"]))

    [entry] = read["methodConfig"]
    assert entry["name"] == [{"service": "solo60.gym.v1.GymService", "method": "GetGym"}]
    assert entry in whole["methodConfig"]
    assert {**read, "methodConfig": None} == {**whole, "methodConfig": None}
    assert "  retryPolicy\n    maxAttempts: 3\n" in shown
    assert "retryThrottling\n  maxTokens: 20\n" in shown
    assert "methodConfig: none\n" in solo60("explain", "auth.LogIn").out


def test_explain_shows_the_worst_case(solo60: Solo60) -> None:
    """`explain` shows the steps of the longest call and the chain with the most attempts, which give their results."""
    worst = json.loads(solo60("explain", "session.BookSession", "--json").out)["worst_case"]
    rows = [" ".join(line.split()) for line in solo60("explain", "session.BookSession").out.splitlines()]

    assert worst["time_s"] == pytest.approx(worst["own_work_s"] + sum(step["deadline_s"] for step in worst["steps"]))
    assert worst["attempts"] == math.prod(hop["max_attempts"] for hop in worst["chain"])
    assert worst["chain"][0] == {"method": "solo60.session.v1.SessionService/BookSession", "max_attempts": 2}
    assert {"methods": ["solo60.payment.v1.PaymentService/ChargeSession"], "deadline_s": 5.0} in worst["steps"]
    assert f"total {worst['time_s']:g} s" in rows
    assert "user.ValidateUser, gym.QuotePrice at the same time 1 s" in rows
    assert f"product {worst['attempts']}" in rows


def test_explain_names_callers_besides_methods(solo60: Solo60) -> None:
    """`explain` names the event that a method subscribes to, and the HTTP endpoint that calls it."""
    webhook = json.loads(solo60("explain", "subscription.ProcessWebhook", "--json").out)
    subscriber = json.loads(solo60("explain", "auth.OnUserErased", "--json").out)

    assert webhook["callers"] == [{"name": "HTTP endpoint of the service", "kind": "http_calls"}]
    assert subscriber["callers"] == [{"name": "solo60.user.v1.UserErased", "kind": "subscribes_to"}]


def test_explain_shows_the_chains_of_a_method(solo60: Solo60) -> None:
    """`explain --chain` lists the interceptors of a method on both sides, when they act, and which do not apply."""
    shown = solo60("explain", "session.BookSession", "--chain").out
    read = json.loads(solo60("explain", "session.BookSession", "--chain", "--json").out)

    rows = [line.split("  ")[0] for line in shown.splitlines()]
    assert rows.index("ClientTracing") < rows.index("Server, outermost first") < rows.index("ServerErrors")
    assert "Not for this method: ServerIdle, ServerRateLimit, ServerDeprecation." in shown
    server = {part["interceptor"]: part["acts"] for part in read["server"]}
    assert server["ServerContext"] == ["before"]
    assert server["ServerIdempotencyKey"] == ["before", "after"]
    assert server["ServerValidation"] == ["each request", "each response"]
    assert server["ServerIdle"] == []
