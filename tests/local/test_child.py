"""Log of a child: only JSON lines, even if code or libraries write to the standard streams."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hpack import Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import Frame, HeadersFrame, SettingsFrame

from local.child import Child
from mesh.config import child_environment
from mesh.telemetry.foreign_lines import RECORDS_BURST
from mesh.telemetry.log_lines import FOREIGN_LOGGER
from tests.attack.raw_peer import PREFACE
from tests.support.echo_process import KINDS
from tests.support.eventually import eventually
from tests.support.log_records import records_of
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

ECHO = "tests.support.echo_process"
UNUSED_DATABASE_URL = "postgresql://nobody"
FLOOD = 2_000
ENCODING = "Invalid encoding"
COMPLAINT = "Error parsing 'grpc-timeout' metadata"


def foreign_records(log: Path) -> list[dict[str, Any]]:
    """Return the records of text that was written outside the child's own log."""
    return [record for record in records_of(log) if record["logger"] == FOREIGN_LOGGER]


def environment(port: int, **more: str) -> dict[str, str]:
    """Return the environment that a supervisor gives to an echo service."""
    return child_environment(listen_address=f"127.0.0.1:{port}", stop_with_parent=True, data_dir="/nowhere") | more


@asynccontextmanager
async def running(log: Path, port: int, **more: str) -> AsyncIterator[Child]:
    """Run an echo service for the duration of the context."""
    child = Child("echo", environment(port, **more), log, [ECHO])
    try:
        child.send_line(UNUSED_DATABASE_URL)
        await until(lambda: child.exit_code is not None or _answers(port))
        assert child.exit_code is None, child.last_output()
        yield child
    finally:
        child.terminate()
        assert await child.wait() == 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""

    async def holds() -> bool:
        return condition()

    await eventually(holds)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def send_bad_timeouts(port: int, count: int) -> None:
    """Send `count` calls without a key and with an invalid grpc-timeout; gRPC's core prints a line for each."""
    send_calls(port, count, "grpc-timeout", b"15 seconds")


def send_calls(port: int, count: int, name: str, value: bytes) -> None:
    """Send `count` calls with one invalid metadata value; read until the server closes the connection."""
    encoder = Encoder()
    names = {":method": "POST", ":scheme": "http", ":path": "/a/B", ":authority": "localhost", "te": "trailers"}
    # Never indexed, because the core complains only once about a value in its header table.
    bad = NeverIndexedHeaderTuple(name, value)
    fields: list[Any] = [*names.items(), ("content-type", "application/grpc"), bad]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        frames: list[Frame] = [SettingsFrame(0)]
        frames += [
            HeadersFrame(1 + 2 * number, encoder.encode(fields), flags=["END_HEADERS", "END_STREAM"])
            for number in range(count)
        ]
        peer.sendall(PREFACE + b"".join(frame.serialize() for frame in frames))
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(65_536):
            pass


async def test_a_peer_without_a_key_cannot_fill_a_log(tmp_path: Path) -> None:
    """Repeated lines of gRPC's core become JSON records up to a limit, so a peer without a key cannot fill a log."""
    log, (port,) = tmp_path / "echo.jsonl", free_ports(1)
    async with running(log, port):
        await asyncio.to_thread(send_bad_timeouts, port, FLOOD)
        await until(lambda: any(COMPLAINT in record["event"] for record in foreign_records(log)))

    records = foreign_records(log)
    of_timeouts = [record for record in records if COMPLAINT in record["event"]]
    assert RECORDS_BURST / 2 <= len(of_timeouts) <= 2 * RECORDS_BURST
    assert {record["level"] for record in of_timeouts} == {"error"}
    assert {record["service"] for record in records} == {"echo"}
    assert log.stat().st_size < 100_000


async def test_a_key_with_a_stray_byte_is_not_logged_and_cannot_fill_a_log(tmp_path: Path) -> None:
    """Metadata that is not UTF-8 is logged without its value and only up to a limit of records."""
    log, (port,) = tmp_path / "echo.jsonl", free_ports(1)
    async with running(log, port):
        await asyncio.to_thread(send_calls, port, FLOOD, "x-api-key", b"solo60_SECRET\xff")
        await until(lambda: any(ENCODING in record["event"] for record in records_of(log)))

    of_values = [record for record in records_of(log) if ENCODING in record["event"]]
    assert "SECRET" not in log.read_text()
    assert len(of_values) <= 2 * RECORDS_BURST
    assert of_values[0]["event"] == f"{ENCODING} on <14 bytes>"


async def test_all_printed_text_becomes_json(tmp_path: Path) -> None:
    """Text from print, standard error, C libraries and Python warnings is logged as JSON."""
    log, (port,) = tmp_path / "echo.jsonl", free_ports(1)
    async with running(log, port, NOISE="3"):
        pass

    events = "\n".join(str(record["event"]) for record in records_of(log))
    for kind in KINDS:
        assert all(f"{kind} {number}" in events for number in range(3))


async def test_a_child_that_prints_too_much_still_starts(tmp_path: Path) -> None:
    """A child starts and serves although it prints more than its log accepts.

    Excess records are dropped and counted.
    """
    log, (port,) = tmp_path / "echo.jsonl", free_ports(1)
    async with running(log, port, NOISE="20000", PYTHONVERBOSE="1"):
        pass

    dropped = sum(record.get("dropped", 0) for record in foreign_records(log))
    assert dropped > 1000
    assert log.stat().st_size < 20_000_000


def last_output_of(tmp_path: Path, program: str, **more: str) -> tuple[Child, Path]:
    """Run a program as a child; return the child and the path of its log."""
    module, log = tmp_path / "program_of_a_test.py", tmp_path / "child.jsonl"
    module.write_text(textwrap.dedent(program))
    return Child("child", {**os.environ, "PYTHONPATH": str(tmp_path), **more}, log, [module.stem]), log


@pytest.mark.parametrize(
    ("program", "last_output"),
    [
        ("print('one'); raise SystemExit('no start: \\x1b two')", "no start: \x1b two"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import os; os.write(2, b'begun and \\xff not'); os._exit(3)", "begun and \\xff not"),
        ("import os; os.write(2, b'one\\nabort: no memory'); os.abort()", "abort: no memory"),
        ("", "it wrote nothing"),
    ],
)
async def test_the_last_output_of_a_child_is_available(tmp_path: Path, program: str, last_output: str) -> None:
    """A child's last output is available even if the child ends before it logs, within a line or by a signal."""
    child, log = last_output_of(tmp_path, program)
    await child.wait()

    records_of(log)
    assert child.last_output() == last_output


async def test_a_traceback_is_one_record(tmp_path: Path) -> None:
    """The traceback of a child that fails before it sets up its log is a single record."""
    child, log = last_output_of(tmp_path, "def f():\n    raise ValueError('no start')\nf()")
    await child.wait()

    (record,) = [record for record in foreign_records(log) if "ValueError" in record["event"]]
    assert "in f" in record["event"]
    assert child.last_output() == "ValueError: no start"


async def test_a_child_that_dies_within_a_log_line_leaves_json(tmp_path: Path) -> None:
    """If a child dies within a log line, the fragment is logged as text and every line is JSON."""
    program = 'import os; os.write(int(os.environ[\'LOG_FD\']), b\'{"event": "whole", "logger": "x"}\\n{"event": "ha\')'
    child, log = last_output_of(tmp_path, program)
    await child.wait()

    assert log.read_bytes().endswith(b"\n")
    assert [record["event"] for record in records_of(log)] == ["whole", '{"event": "ha']


def test_an_unfinished_line_of_an_earlier_process_becomes_a_record(tmp_path: Path) -> None:
    """A log line that an earlier process left unfinished becomes a separate JSON record."""
    (tmp_path / "child.jsonl").write_bytes(b'{"event": "ha')
    child, log = last_output_of(tmp_path, "")

    asyncio.run(child.wait())

    assert [record["event"] for record in records_of(log)] == ['{"event": "ha']


def alone(arguments: Sequence[str] = (), **more: str) -> subprocess.Popen[bytes]:
    """Run an echo service without a supervisor, with output and errors in one pipe as in a container."""
    return subprocess.Popen(
        [sys.executable, "-m", ECHO, *arguments],
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def test_a_service_without_a_supervisor_writes_only_json(tmp_path: Path) -> None:
    """Without a supervisor, a service writes only JSON lines and limits the repeated lines of gRPC's core."""
    (port,) = free_ports(1)
    with alone(LISTEN_ADDRESS=f"127.0.0.1:{port}", DATA_DIR=str(tmp_path), NOISE="3") as process:
        assert process.stdout is not None
        reading = asyncio.create_task(asyncio.to_thread(process.stdout.read))
        await until(lambda: process.poll() is not None or _answers(port))
        await asyncio.to_thread(send_bad_timeouts, port, FLOOD)
        process.terminate()
        output = await reading

    records = [json.loads(line) for line in output.splitlines()]
    events = "\n".join(record["event"] for record in records)
    for kind in KINDS:
        assert all(f"{kind} {number}" in events for number in range(3))
    assert 0 < sum(COMPLAINT in record["event"] for record in records) <= 2 * RECORDS_BURST
    assert process.returncode == 0


def test_a_service_without_a_supervisor_reports_a_wrong_setting_in_one_sentence() -> None:
    """A service without a supervisor reports a wrong setting in one sentence and exits with code 2."""
    with alone(LOG_FD="12345") as process:
        assert process.stdout is not None
        output = process.stdout.read()

    assert (process.returncode, output) == (2, b"LOG_FD: this is not an open file.\n")
