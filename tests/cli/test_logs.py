from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.local_mesh import SOLO60, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Solo60

PATIENCE_S = 60.0
CALL = {
    "service": "gym", "method": "solo60.gym.v1.GymService/GetGym", "caller": "session", "code": "NOT_FOUND",
    "duration_ms": 3.25, "correlation_id": "abcd1234", "event": "call", "level": "info", "logger": "solo60.access",
    "timestamp": "2026-03-03T10:00:01.123456Z",
}  # fmt: skip
CRASH = {
    "service": "user", "event": "a handler\x1b[31m crashed", "level": "error", "correlation_id": "abcd1234",
    "timestamp": "2026-03-03T10:00:02.123456Z", "exception": "Traceback:\n  ZeroDivisionError",
}  # fmt: skip

FACTS = "  caller=session correlation_id=abcd1234"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Write two logs."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for facts in (CALL, CRASH):
        (folder / f"{facts['service']}.jsonl").write_text(json.dumps(facts) + "\n")
    return folder


@pytest.mark.usefixtures("logs")
def test_logs_are_readable_by_people(solo60: Solo60) -> None:
    """When, who, what, and then every other fact; a log cannot steer the terminal."""
    done = solo60("logs")

    assert done.exit_code == 0
    assert done.out.splitlines() == [
        f"2026-03-03T10:00:01.123 gym           {CALL['method']} NOT_FOUND 3.25 ms{FACTS}",
        "2026-03-03T10:00:02.123 user          error a handler\\x1b[31m crashed  correlation_id=abcd1234",
        "    Traceback:",
        "      ZeroDivisionError",
    ]


@pytest.mark.usefixtures("logs")
def test_logs_are_readable_by_scripts(solo60: Solo60) -> None:
    """One JSON object a line, as the service wrote it."""
    everything = solo60("logs", "--json").out.splitlines()
    one = solo60("logs", "user", "--json").out.splitlines()
    newest = solo60("logs", "-n", "1", "--json").out.splitlines()
    none = solo60("logs", "--correlation", "no-such-id", "--json")

    assert list(map(json.loads, everything)) == [CALL, CRASH]
    assert list(map(json.loads, one)) == list(map(json.loads, newest)) == [CRASH]
    assert (none.exit_code, none.out, none.err) == (0, "", "There are no lines with this correlation id.\n")


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_correlation_id_is_refused(solo60: Solo60, blank: str) -> None:
    """`solo60 logs --correlation "$ID"` with an unset variable does not print the lines of every call."""
    done = solo60("logs", "--correlation", blank)

    assert (done.exit_code, done.out, done.err) == (1, "", "--correlation: the id is blank. Give a correlation id.\n")


def test_without_logs_there_is_a_sentence(solo60: Solo60, tmp_path: Path) -> None:
    """And for a service that nobody knows another one."""
    assert solo60("logs").err == f"There are no logs in {tmp_path}/logs. Start the mesh with `make run`.\n"
    assert solo60("logs", "gmy").err.startswith('"gmy" is not a service. Services: auth, ')


@pytest.mark.usefixtures("solo60")
def test_following_shows_what_is_added_and_costs_next_to_nothing(logs: Path) -> None:
    """A line appears when it is written, only of what was asked for, and Ctrl-C is a good end."""
    command = [str(SOLO60), "logs", "-f", "--correlation", "abcd1234", "-n", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as following:
        try:
            assert json.loads(line_of(following)) == CRASH

            with (logs / "gym.jsonl").open("a") as log:
                log.write(json.dumps({**CALL, "correlation_id": "another-one"}) + "\n")
                log.write(json.dumps({**CALL, "code": "OK"}) + "\n")
                log.flush()
                assert json.loads(line_of(following))["code"] == "OK"

            (logs / "session.jsonl").write_text(json.dumps({**CALL, "service": "session"}) + "\n")
            assert json.loads(line_of(following))["service"] == "session"

            # A loop that never waits would be put to sleep by nobody: each pause is a voluntary switch.
            process = psutil.Process(following.pid)
            before = process.num_ctx_switches()
            wait_for(lambda: process.num_ctx_switches().voluntary > before.voluntary)

            following.send_signal(signal.SIGINT)
            assert following.wait(PATIENCE_S) == 0
        finally:
            following.kill()


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    """Return the next line of a process; fail when it does not come."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        found = b""
        while not found.endswith(b"\n"):
            assert selector.select(PATIENCE_S), "it wrote nothing"
            part = os.read(process.stdout.fileno(), 1)
            assert part, "it ended"
            found += part
    return found
