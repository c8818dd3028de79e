from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptors.access_log import ServerAccessLog
from interceptors.api_key import API_KEY
from interceptors.context import USER_ID, ServerContext
from interceptors.errors import CORRELATION_ID
from mesh.log_lines import LONGEST_WAIT_S, LogLines, json_line
from solo60.example.v1 import echo_pb2
from tests.interceptors.test_server import serving

HOSTILE = 'a\r\nb\x1b[2J\x0b\x1c\x85\x9b31m\u2028\u2029\u202e"}\n{"event": "call"}\ud800'
LEVELS_AND_A_CRASH = """
import logging, os, sys
import structlog
from interceptors.access_log import ServerAccessLog
from mesh.config import Settings
from mesh.telemetry import access_log_writer, set_up_logging

set_up_logging(Settings(_env_file=None, log_level=sys.argv[1]), "gym")
write = access_log_writer()
for number in range(3):
    write({"method": "m", "number": number})
    structlog.stdlib.get_logger("ours").warning("ours", number=number)
    logging.getLogger("theirs").info("theirs\\n%s", number)
os._exit(1)
"""


@dataclass
class Account:
    """A thing that hides a part of itself."""

    user: str
    password: str = field(repr=False)


class Broken:
    """A thing that cannot even be shown."""

    def __repr__(self) -> str:
        raise ValueError


def circle() -> list[Any]:
    """Make a list that holds itself."""
    itself: list[Any] = []
    itself.append(itself)
    return itself


texts = st.text(st.characters()) | st.just(HOSTILE)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary()
values = st.recursive(
    scalars, lambda each: st.lists(each) | st.dictionaries(texts | st.integers(), each), max_leaves=10
)


@given(st.dictionaries(texts, values))
def test_whatever_is_logged_is_one_line_of_json(facts: dict[str, Any]) -> None:
    """Nothing ends a line or speaks to a terminal, and every fact is there."""
    [line] = json_line(facts).decode("ascii").splitlines()

    assert line.isprintable() or "\x7f" in line
    assert json.loads(line).keys() == facts.keys()


@pytest.mark.parametrize(
    "note", [object(), Broken(), circle(), {1: 2, (3, 4): 5}, 2**80, b"\xff", "\ud800", float("nan"), {1, 2}], ids=type
)
def test_a_value_that_json_does_not_know_costs_no_other(note: object) -> None:
    """It becomes text; the rest of the line stays what it was."""
    line = json.loads(json_line({"code": "OK", "duration_ms": 1.5, "note": note}))

    assert (line["code"], line["duration_ms"]) == ("OK", 1.5)
    assert "note" in line


def test_what_an_object_hides_from_its_repr_is_not_logged() -> None:
    """A secret within a dataclass."""
    assert b"hunter2" not in json_line({"note": Account("dana", "hunter2")})


async def test_no_metadata_makes_a_second_line() -> None:
    """Neither what a caller sends as metadata, as far as gRPC lets it, nor what its request says."""
    stream = io.BytesIO()
    lines = LogLines(stream, "echo")
    log = ServerAccessLog(log_requests=True, write=lines.write_call)
    header = HOSTILE.encode("ascii", "ignore").decode().translate(dict.fromkeys(range(32), "\\"))
    names = (API_KEY, CORRELATION_ID, USER_ID, "x-other", "traceparent", "grpc-previous-rpc-attempts")
    binary = ("x-other-bin", HOSTILE.encode("utf-8", "ignore"))
    metadata: list[tuple[str, str | bytes]] = [*((name, header) for name in names), binary]

    async with serving(ServerContext(), log) as stub:
        await stub.Echo(echo_pb2.EchoRequest(text=HOSTILE[:-1]), metadata=tuple(metadata))

    lines.flush()
    [line] = stream.getvalue().decode("ascii").splitlines()
    assert json.loads(line)["request"] == {"text": HOSTILE[:-1]}
    assert header not in line


@pytest.mark.parametrize("buffering", [-1, 0])
def test_lines_of_all_threads_stay_whole(buffering: int) -> None:
    """Those of the access log and those of loggers, however long, in one pipe, with and without a buffer."""
    reader, writer = os.pipe()
    with ThreadPoolExecutor(5) as threads, os.fdopen(reader, "rb") as output:
        reading = threads.submit(output.read)
        with os.fdopen(writer, "wb", buffering=buffering) as stream:
            lines = LogLines(stream, "gym")
            lines.setFormatter(logging.Formatter('{"event": "%(message)s"}'))
            logger = logging.Logger("ours")  # noqa: LOG001 - one that has no part in this process's own logging
            logger.addHandler(lines)

            def write(number: int) -> None:
                for size in range(0, 20_000, 200):
                    lines.write_call({"note": str(number) * size})
                    logger.warning(str(number) * size)

            list(threads.map(write, range(4)))
        written = [json.loads(line) for line in reading.result().splitlines()]
    assert len(written) == 4 * 100 * 2


@pytest.mark.requirement("S4")
async def test_the_lines_of_calls_are_written_together_and_in_order() -> None:
    """A line of a logger does not overtake those of calls that ended before it."""
    stream = io.BytesIO()
    lines = LogLines(stream, "gym")
    lines.write_call({"number": 1})
    lines.write_call({"number": 2})
    assert stream.getvalue() == b""

    lines.write_call({"number": 3})
    lines.emit(logging.LogRecord("ours", logging.INFO, "", 0, '{"number": 4}', None, None))

    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == [1, 2, 3, 4]


@pytest.mark.requirement("S4")
async def test_the_line_of_a_call_waits_only_for_a_moment() -> None:
    """It is out although nothing else is logged."""
    stream = io.BytesIO()
    LogLines(stream, "gym").write_call({})

    async with asyncio.timeout(30):
        while not stream.getvalue():  # noqa: ASYNC110 - a buffer says nothing
            await asyncio.sleep(LONGEST_WAIT_S)


@pytest.mark.requirement("S4")
def test_a_loop_that_closes_keeps_no_line_back() -> None:
    """What it has not written is written by the next one."""
    stream = io.BytesIO()
    lines = LogLines(stream, "gym")

    async def write(number: int) -> None:
        lines.write_call({"number": number})

    async def write_and_wait(number: int) -> None:
        lines.write_call({"number": number})
        async with asyncio.timeout(30):
            while not stream.getvalue():  # noqa: ASYNC110 - a buffer says nothing
                await asyncio.sleep(LONGEST_WAIT_S)

    asyncio.run(write(1))
    asyncio.run(write_and_wait(2))

    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == [1, 2]


def test_what_is_logged_while_a_line_is_written_waits_for_nobody() -> None:
    """A finalizer may run in the midst of it, and may have something to say: a task that was never awaited, say."""
    logger = logging.Logger("theirs")  # noqa: LOG001 - one that has no part in this process's own logging

    class Interrupted(io.BytesIO):
        def write(self, data: Any) -> int:  # noqa: ANN401 - as BytesIO has it
            if b"finalizer" not in data:
                logger.warning("finalizer")
            return super().write(data)

    stream = Interrupted()
    lines = LogLines(stream, "gym")
    logger.addHandler(lines)
    thread = threading.Thread(target=logger.warning, args=("line",), daemon=True)
    thread.start()
    thread.join(30)

    assert not thread.is_alive()
    assert sorted(stream.getvalue().split()) == [b"finalizer", b"line"]


def test_a_stream_that_takes_no_more_stops_nobody() -> None:
    """A full disk, or a reader that is gone, is no reason for a call to fail."""
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device
        LogLines(full, "gym").write_call({})
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as broken:
        LogLines(broken, "gym").write_call({})
    LogLines(broken, "gym").write_call({})


@pytest.mark.requirement("S4")
@pytest.mark.parametrize(
    ("level", "expected"), [("info", ["call", "ours", "theirs\n"]), ("warning", ["ours"]), ("error", [])]
)
def test_a_crash_loses_no_line_of_its_level(level: str, expected: list[str]) -> None:
    """Each line is out before its call returns, in order, with the same keys whoever wrote it."""
    done = subprocess.run(
        [sys.executable, "-c", LEVELS_AND_A_CRASH, level],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"].rstrip("012") for line in lines] == expected * 3
    assert done.returncode == 1
    for line in lines:
        assert {"service", "event", "level", "logger", "timestamp"} <= line.keys()
        assert line["timestamp"].endswith("Z")
        assert line["service"] == "gym"
