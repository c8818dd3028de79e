"""A child's log is lines of JSON, whatever is written past it, and by whom."""

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

from mesh.child import Child
from mesh.config import child_environment
from mesh.foreign_lines import RECORDS_AT_ONCE
from mesh.log_lines import FOREIGN_LOGGER
from tests.attack.raw_peer import PREFACE
from tests.support.echo_process import KINDS
from tests.support.eventually import eventually
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

ECHO = "tests.support.echo_process"
NOBODY = "postgresql://nobody"
FLOOD = 2_000
ENCODING = "Invalid encoding"
COMPLAINT = "Error parsing 'grpc-timeout' metadata"


def records_of(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; fail where one is no JSON object."""
    records = [json.loads(line) for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert all(isinstance(record, dict) for record in records)
    return records


def foreign_in(log: Path) -> list[dict[str, Any]]:
    """Return what was written past a log."""
    return [record for record in records_of(log) if record["logger"] == FOREIGN_LOGGER]


def environment(port: int, **more: str) -> dict[str, str]:
    """Return the environment of an echo service that a supervisor starts."""
    return child_environment(listen_address=f"127.0.0.1:{port}", stop_with_parent=True, data_dir="/nowhere") | more


@asynccontextmanager
async def running(log: Path, port: int, **more: str) -> AsyncIterator[Child]:
    """Run an echo service until the end of the context."""
    child = Child("echo", environment(port, **more), log, [ECHO])
    try:
        child.begin(NOBODY)
        await until(lambda: child.exit_code is not None or _answers(port))
        assert child.exit_code is None, child.last_words()
        yield child
    finally:
        child.terminate()
        assert await child.ended() == 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""

    async def holds() -> bool:
        return condition()

    await eventually(holds)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def send_bad_timeouts(port: int, count: int) -> None:
    """Send so many calls without a key, whose deadline is none: gRPC's core prints a line for each."""
    send_calls(port, count, "grpc-timeout", b"15 seconds")


def send_calls(port: int, count: int, name: str, value: bytes) -> None:
    """Send `count` calls with one metadata value that no gRPC library would send; read until the server hangs up."""
    encoder = Encoder()
    names = {":method": "POST", ":scheme": "http", ":path": "/a/B", ":authority": "localhost", "te": "trailers"}
    # Sent anew each time, as the core complains once of what it has in its table.
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
    """Each line of gRPC's core becomes JSON, and beyond a burst they are counted and not kept."""
    log, (port,) = tmp_path / "echo.jsonl", free_ports(1)
    async with running(log, port):
        await asyncio.to_thread(send_bad_timeouts, port, FLOOD)
        await until(lambda: any(COMPLAINT in record["event"] for record in foreign_in(log)))

    told = foreign_in(log)
    of_timeouts = [record for record in told if COMPLAINT in record["event"]]
    assert RECORDS_AT_ONCE / 2 <= len(of_timeouts) <= 2 * RECORDS_AT_ONCE
    assert {record["level"] for record in of_timeouts} == {"error"}
    assert {record["service"] for record in told} == {"echo"}
    assert log.stat().st_size < 100_000


async def test_a_key_with_a_stray_byte_is_not_logged_and_cannot_fill_a_log(tmp_path: Path) -> None:
    """Metadata that is not UTF-8 leaves neither its value nor a line for each call in the log."""
    log, (port,) = tmp_path / "echo.jsonl", free_ports(1)
    async with running(log, port):
        await asyncio.to_thread(send_calls, port, FLOOD, "x-api-key", b"solo60_SECRET\xff")
        await until(lambda: any(ENCODING in record["event"] for record in records_of(log)))

    of_values = [record for record in records_of(log) if ENCODING in record["event"]]
    assert "SECRET" not in log.read_text()
    assert len(of_values) <= 2 * RECORDS_AT_ONCE
    assert of_values[0]["event"] == f"{ENCODING} on <14 bytes>"


async def test_whatever_is_printed_becomes_json(tmp_path: Path) -> None:
    """By print, to standard error, by a library in C, and as a warning of Python."""
    log, (port,) = tmp_path / "echo.jsonl", free_ports(1)
    async with running(log, port, NOISE="3"):
        pass

    events = "\n".join(str(record["event"]) for record in records_of(log))
    for kind in KINDS:
        assert all(f"{kind} {number}" in events for number in range(3))


async def test_a_child_waits_for_no_reader(tmp_path: Path) -> None:
    """It starts and serves, however much it writes past its log; the noise of the interpreter is JSON too."""
    log, (port,) = tmp_path / "echo.jsonl", free_ports(1)
    async with running(log, port, NOISE="20000", PYTHONVERBOSE="1"):
        pass

    dropped = sum(record.get("dropped", 0) for record in foreign_in(log))
    assert dropped > 1000
    assert log.stat().st_size < 20_000_000


def last_words_of(tmp_path: Path, program: str, **more: str) -> tuple[Child, Path]:
    """Run a program as a child until it ends."""
    module, log = tmp_path / "program_of_a_test.py", tmp_path / "child.jsonl"
    module.write_text(textwrap.dedent(program))
    return Child("child", {**os.environ, "PYTHONPATH": str(tmp_path), **more}, log, [module.stem]), log


@pytest.mark.parametrize(
    ("program", "last_words"),
    [
        ("print('one'); raise SystemExit('no start: \\x1b two')", "no start: \x1b two"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import os; os.write(2, b'begun and \\xff not'); os._exit(3)", "begun and \\xff not"),
        ("import os; os.abort()", None),
        ("", "it wrote nothing"),
    ],
)
async def test_the_last_words_of_a_child_are_kept(tmp_path: Path, program: str, last_words: str | None) -> None:
    """Also of one that dies before it logs, in the midst of a line, or by a signal."""
    child, log = last_words_of(tmp_path, program)
    await child.ended()

    records_of(log)
    assert last_words is None or child.last_words() == last_words


async def test_a_traceback_is_one_record(tmp_path: Path) -> None:
    """Of a child that fails before it has set up its log."""
    child, log = last_words_of(tmp_path, "def f():\n    raise ValueError('no start')\nf()")
    await child.ended()

    (record,) = [record for record in foreign_in(log) if "ValueError" in record["event"]]
    assert "in f" in record["event"]
    assert child.last_words() == "ValueError: no start"


async def test_a_child_that_dies_in_the_midst_of_a_log_line_leaves_json(tmp_path: Path) -> None:
    """Of its log too each line is JSON; what was written of the last one is kept as text."""
    program = 'import os; os.write(int(os.environ[\'LOG_FD\']), b\'{"event": "whole", "logger": "x"}\\n{"event": "ha\')'
    child, log = last_words_of(tmp_path, program)
    await child.ended()

    assert log.read_bytes().endswith(b"\n")
    assert [record["event"] for record in records_of(log)] == ["whole", '{"event": "ha']


def test_a_line_that_an_earlier_process_began_is_ended_first(tmp_path: Path) -> None:
    """Where the supervisor died together with it."""
    (tmp_path / "child.jsonl").write_bytes(b'{"event": "ha')
    child, log = last_words_of(tmp_path, "")

    asyncio.run(child.ended())

    assert [record["event"] for record in records_of(log)] == ['{"event": "ha']


def alone(arguments: Sequence[str] = (), **more: str) -> subprocess.Popen[bytes]:
    """Run an echo service without a supervisor, its output and errors in one pipe, as a container has them."""
    return subprocess.Popen(
        [sys.executable, "-m", ECHO, *arguments],
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def test_a_service_alone_writes_json_alone(tmp_path: Path) -> None:
    """Without a supervisor, standard output and standard error are one log of JSON lines, and it is limited too."""
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
    assert 0 < sum(COMPLAINT in record["event"] for record in records) <= 2 * RECORDS_AT_ONCE
    assert process.returncode == 0


def test_a_service_alone_says_in_one_plain_sentence_which_setting_is_wrong() -> None:
    """To the person who starts it."""
    with alone(LOG_FD="12345") as process:
        assert process.stdout is not None
        output = process.stdout.read()

    assert (process.returncode, output) == (2, b"LOG_FD: is not an open file.\n")
