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

from contracts.metadata import CORRELATION_ID
from interceptors.access_log import ServerAccessLog
from interceptors.keys.interceptor import API_KEY
from interceptors.propagation import USER_ID, ServerContext
from mesh.telemetry.log_lines import LogLineHandler, json_line
from solo60.example.v1 import echo_pb2
from tests.support.echo_serving import serving
from tests.support.eventually import eventually

HOSTILE = 'a\r\nb\x1b[2J\x0b\x1c\x85\x9b31m\u2028\u2029\u202e"}\n{"event": "call"}\ud800'
LEVELS_AND_A_CRASH = """
import logging, os, sys
import structlog
from interceptors.access_log import ServerAccessLog
from mesh.config import Settings
from mesh.telemetry.setup import access_log_writer, set_up_logging

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
    """Object with a field that is hidden from its repr."""

    user: str
    password: str = field(repr=False)


class BrokenRepr:
    """Object without a working repr."""

    def __repr__(self) -> str:
        raise ValueError


def cyclic_list() -> list[Any]:
    """Make a list that contains itself."""
    itself: list[Any] = []
    itself.append(itself)
    return itself


texts = st.text(st.characters()) | st.just(HOSTILE)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary()
values = st.recursive(
    scalars, lambda each: st.lists(each) | st.dictionaries(texts | st.integers(), each), max_leaves=10
)


@given(st.dictionaries(texts, values))
def test_every_record_is_one_line_of_json(facts: dict[str, Any]) -> None:
    """Any record becomes one line of printable JSON with all of its facts."""
    [line] = json_line(facts).decode("ascii").splitlines()

    assert line.isprintable() or "\x7f" in line
    assert json.loads(line).keys() == facts.keys()


@pytest.mark.parametrize(
    "note",
    [object(), BrokenRepr(), cyclic_list(), {1: 2, (3, 4): 5}, 2**80, b"\xff", "\ud800", float("nan"), {1, 2}],
    ids=type,
)
def test_an_unserializable_value_does_not_affect_others(note: object) -> None:
    """A value that JSON cannot represent does not change the other values of its line."""
    line = json.loads(json_line({"code": "OK", "duration_ms": 1.5, "note": note}))

    assert (line["code"], line["duration_ms"]) == ("OK", 1.5)
    assert "note" in line


def test_a_field_hidden_from_the_repr_is_not_logged() -> None:
    """A dataclass field that is hidden from the repr is not logged."""
    assert b"hunter2" not in json_line({"note": Account("dana", "hunter2")})


async def test_hostile_metadata_adds_no_line() -> None:
    """Neither hostile metadata nor a hostile request adds a line to the log."""
    stream = io.BytesIO()
    lines = LogLineHandler(stream, "echo")
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
def test_lines_of_concurrent_threads_stay_whole(buffering: int) -> None:
    """Lines that several threads write to one pipe stay whole, with and without a buffer."""
    reader, writer = os.pipe()
    with ThreadPoolExecutor(5) as threads, os.fdopen(reader, "rb") as output:
        reading = threads.submit(output.read)
        with os.fdopen(writer, "wb", buffering=buffering) as stream:
            lines = LogLineHandler(stream, "gym")
            lines.setFormatter(logging.Formatter('{"event": "%(message)s"}'))
            logger = logging.Logger("ours")  # noqa: LOG001 - separate from this process's own logging
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
    """Lines of calls are buffered. A line of a logger is written after those of earlier calls."""
    stream = io.BytesIO()
    lines = LogLineHandler(stream, "gym")
    lines.write_call({"number": 1})
    lines.write_call({"number": 2})
    assert stream.getvalue() == b""

    lines.write_call({"number": 3})
    lines.emit(logging.LogRecord("ours", logging.INFO, "", 0, '{"number": 4}', None, None))

    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == [1, 2, 3, 4]


@pytest.mark.requirement("S4")
async def test_the_line_of_a_call_is_written_soon() -> None:
    """A buffered line is written soon, even if nothing else is logged."""
    stream = io.BytesIO()
    LogLineHandler(stream, "gym").write_call({})

    await eventually(lambda: stream.getvalue() != b"")


@pytest.mark.requirement("S4")
def test_a_closed_loop_loses_no_line() -> None:
    """Lines that a closed event loop has not written are written by the next loop."""
    stream = io.BytesIO()
    lines = LogLineHandler(stream, "gym")

    async def write(number: int) -> None:
        lines.write_call({"number": number})

    async def write_and_wait(number: int) -> None:
        lines.write_call({"number": number})
        await eventually(lambda: stream.getvalue().count(b"\n") == number)

    asyncio.run(write(1))
    asyncio.run(write_and_wait(2))

    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == [1, 2]


def test_logging_while_a_line_is_written_does_not_deadlock() -> None:
    """A finalizer may log while another line is being written, without a deadlock."""
    logger = logging.Logger("theirs")  # noqa: LOG001 - separate from this process's own logging

    class InterruptedStream(io.BytesIO):
        def write(self, data: Any) -> int:
            if b"finalizer" not in data:
                logger.warning("finalizer")
            return super().write(data)

    stream = InterruptedStream()
    lines = LogLineHandler(stream, "gym")
    logger.addHandler(lines)
    thread = threading.Thread(target=logger.warning, args=("line",), daemon=True)
    thread.start()
    thread.join(30)

    assert not thread.is_alive()
    assert sorted(stream.getvalue().split()) == [b"finalizer", b"line"]


def test_a_stream_that_cannot_be_written_raises_no_error() -> None:
    """Writing a call's line to a full disk or to a pipe without a reader raises no error."""
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device
        LogLineHandler(full, "gym").write_call({})
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as broken:
        LogLineHandler(broken, "gym").write_call({})
    LogLineHandler(broken, "gym").write_call({})


@pytest.mark.requirement("S4")
@pytest.mark.parametrize(
    ("level", "expected"), [("info", ["call", "ours", "theirs\n"]), ("warning", ["ours"]), ("error", [])]
)
def test_a_crash_loses_no_line_of_its_level(level: str, expected: list[str]) -> None:
    """A crash loses no line at or above the log level. All lines are in order and have the same keys."""
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
