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

TIMEOUT_S = 60.0
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
    """Write the logs of two services."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for facts in (CALL, CRASH):
        (folder / f"{facts['service']}.jsonl").write_text(json.dumps(facts) + "\n")
    return folder


@pytest.mark.usefixtures("logs")
def test_logs_are_readable_by_people(solo60: Solo60) -> None:
    """`logs` prints the time, service, event and other fields of each line, and escapes control characters."""
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
    """`logs --json` prints each line as the service wrote it, and filters by service, number and correlation id."""
    everything = solo60("logs", "--json").out.splitlines()
    one = solo60("logs", "user", "--json").out.splitlines()
    newest = solo60("logs", "-n", "1", "--json").out.splitlines()
    none = solo60("logs", "--correlation", "no-such-id", "--json")

    assert list(map(json.loads, everything)) == [CALL, CRASH]
    assert list(map(json.loads, one)) == list(map(json.loads, newest)) == [CRASH]
    assert (none.exit_code, none.out, none.err) == (0, "", "There are no lines with this correlation id.\n")


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--level", "warning", [CRASH]), ("--level", "INFO", [CALL, CRASH]), ("--text", "CRASHED", [CRASH]),
        ("--method", "gym.GetGym", [CALL]), ("--code", "not_found", [CALL]), ("--code", "failed", [CALL]),
    ],
)  # fmt: skip
def test_logs_are_filtered(solo60: Solo60, option: str, value: str, expected: list[dict[str, object]]) -> None:
    """`logs` filters by level, text, method and code, and says so if no line matches."""
    done = solo60("logs", option, value, "--json")
    none = solo60("logs", option, value, "--correlation", "no-such-id")

    assert [json.loads(each) for each in done.out.splitlines()] == expected
    assert none.err == "No line matches these options.\n"


@pytest.mark.usefixtures("logs")
def test_an_unknown_level_or_code_is_rejected(solo60: Solo60) -> None:
    """`logs` rejects a level or code that does not exist, and names the option and the possible values."""
    level, code = solo60("logs", "--level", "loud"), solo60("logs", "--code", "OKAY")

    assert (level.exit_code, code.exit_code) == (1, 1)
    assert level.err == '--level: "loud" is not a level. Use one of debug, info, warning, error, critical.\n'
    assert code.err.startswith('--code: "OKAY" is not a code. Use failed or one of OK, ')


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_correlation_id_is_rejected(solo60: Solo60, blank: str) -> None:
    """`solo60 logs --correlation "$ID"` with an unset variable fails instead of printing the lines of every call."""
    done = solo60("logs", "--correlation", blank)

    assert (done.exit_code, done.out, done.err) == (1, "", "--correlation: the id is blank. Give a correlation id.\n")


def test_missing_logs_are_reported_in_one_sentence(solo60: Solo60, tmp_path: Path) -> None:
    """`logs` reports a data folder without logs and an unknown service, each in one sentence."""
    assert solo60("logs").err == f"There are no logs in {tmp_path}/logs. Start the mesh with `make run`.\n"
    assert solo60("logs", "gmy").err.startswith('"gmy" is not a service. Services: auth, ')


@pytest.mark.usefixtures("solo60")
def test_following_prints_new_lines_and_sleeps_between_reads(logs: Path) -> None:
    """`logs -f` prints new matching lines, also from new files, sleeps between reads, and exits with 0 on Ctrl-C."""
    command = [str(SOLO60), "logs", "-f", "--correlation", "abcd1234", "-n", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as following:
        try:
            assert json.loads(read_line(following)) == CRASH

            with (logs / "gym.jsonl").open("a") as log:
                log.write(json.dumps({**CALL, "correlation_id": "another-one"}) + "\n")
                log.write(json.dumps({**CALL, "code": "OK"}) + "\n")
                log.flush()
                assert json.loads(read_line(following))["code"] == "OK"

            (logs / "session.jsonl").write_text(json.dumps({**CALL, "service": "session"}) + "\n")
            assert json.loads(read_line(following))["service"] == "session"

            # Each pause is a voluntary context switch; a busy loop makes none.
            process = psutil.Process(following.pid)
            before = process.num_ctx_switches()
            wait_for(lambda: process.num_ctx_switches().voluntary > before.voluntary)

            following.send_signal(signal.SIGINT)
            assert following.wait(TIMEOUT_S) == 0
        finally:
            following.kill()


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    """Return the next line of a process; fail if the process ends or writes nothing for TIMEOUT_S."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        found = b""
        while not found.endswith(b"\n"):
            assert selector.select(TIMEOUT_S), "the process wrote nothing"
            part = os.read(process.stdout.fileno(), 1)
            assert part, "the process ended"
            found += part
    return found
