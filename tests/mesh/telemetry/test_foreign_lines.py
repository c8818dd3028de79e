from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.telemetry.foreign_lines import (
    ALL_RECORDS_BURST,
    MAX_RECORD_BYTES,
    QUIET_S,
    RECORDS_BURST,
    REPORT_INTERVAL_S,
    ForeignLineParser,
    ForeignRecord,
    forward_records,
)
from tests.support.clock import ManualClock

CORE = b"E0000 00:00:1764302400.123456   14794 chttp2_transport.cc:1403] no timeout: '15 seconds'\n"
TRACEBACK = b"""\
Traceback (most recent call last):
  File "<string>", line 1, in <module>
    1 / 0
ZeroDivisionError: division by zero
"""
WARNING = b"app.py:3: UserWarning: careful\n  warn()\n"


def texts(data: bytes, chunk_sizes: list[int]) -> list[str]:
    """Return the texts of the records in `data`, which arrives in chunks of these sizes and a last one."""
    lines, records = ForeignLineParser(ManualClock()), list[ForeignRecord]()
    for size in chunk_sizes:
        records += lines.feed(data[:size])
        data = data[size:]
    records += [*lines.feed(data), *lines.close()]
    return [record.text for record in records]


@given(
    st.lists(st.sampled_from([CORE, TRACEBACK, WARNING, b"\n", b"\xff\xfe\n", b"a\r\n"]), max_size=8),
    st.lists(st.integers(0, 40)),
)
def test_related_lines_form_one_record_in_any_chunks(parts: list[bytes], chunk_sizes: list[int]) -> None:
    """A traceback, a warning with its source line, or a line of gRPC's core is one record.

    The size of the chunks does not matter, and no text is lost.
    """
    non_blank = [part for part in parts if part.strip()]

    assert texts(b"".join(parts), chunk_sizes) == [
        part.rstrip().decode(errors="backslashreplace") for part in non_blank
    ]


@pytest.mark.parametrize(
    ("line", "level"),
    [(b"I", "info"), (b"W", "warning"), (b"E", "error"), (b"F", "critical")],
)
def test_a_line_of_the_core_has_its_own_level(line: bytes, level: str) -> None:
    """The first letter of a line of gRPC's core sets the log level of its record."""
    lines = ForeignLineParser(ManualClock())

    assert [record.level for record in (*lines.feed(line + CORE[1:]), *lines.close())] == [level]


def test_an_unfinished_line_becomes_a_record_after_a_pause() -> None:
    """An unfinished line, such as a prompt, becomes a record when no more text follows."""
    lines = ForeignLineParser(ManualClock())
    assert list(lines.feed(b"Fatal: hal")) == []
    assert lines.has_buffered_lines

    assert [record.text for record in lines.flush()] == ["Fatal: hal"]
    assert not lines.has_buffered_lines


def test_a_very_long_line_is_cut() -> None:
    """A very long line is cut, and its record says how many bytes are missing."""
    lines = ForeignLineParser(ManualClock())
    for _ in range(1000):
        assert list(lines.feed(b"x" * 1000)) == []

    (record,) = lines.feed(b"\nnext\n")

    assert record.text == "x" * MAX_RECORD_BYTES + f" [{1_000_000 - MAX_RECORD_BYTES} bytes cut]"


def test_a_very_long_traceback_is_cut() -> None:
    """A very long traceback, for example of a recursion, is cut."""
    lines = ForeignLineParser(ManualClock())
    list(lines.feed(TRACEBACK[:35] + b'  File "a.py", line 1, in f\n' * 10_000))

    (record,) = lines.feed(b"RecursionError\n")

    assert len(record.text) < MAX_RECORD_BYTES + 100
    assert "bytes cut" in record.text


def test_excess_records_of_one_place_are_dropped_without_hiding_others() -> None:
    """Records of one place beyond its burst are dropped and counted in the next record.

    Records of other places are unaffected.
    """
    clock = ManualClock()
    lines = ForeignLineParser(clock)

    flood = [*lines.feed(CORE * 10_000), *lines.feed(TRACEBACK), *lines.flush()]

    assert len(flood) == RECORDS_BURST + 1
    assert flood[-1].text.startswith("Traceback")
    assert flood[-1].dropped == 10_000 - RECORDS_BURST


def test_all_places_share_a_limit() -> None:
    """All places share a limit, because text from outside can imitate many places."""
    lines = ForeignLineParser(ManualClock())

    records = [record for number in range(10_000) for record in lines.feed(CORE.replace(b"1403", str(number).encode()))]

    assert len(records) == ALL_RECORDS_BURST


def test_dropped_records_are_reported_even_if_none_follow() -> None:
    """Dropped records are reported even if no record follows, and at most once per report interval."""
    clock = ManualClock()
    lines = ForeignLineParser(clock)
    list(lines.feed(CORE * (RECORDS_BURST + 5)))

    assert [record.dropped for record in lines.flush()] == [5]
    for _ in range(10):
        clock.now_s += 2 * QUIET_S / 10
        list(lines.feed(CORE * 10))
    assert list(lines.flush()) == []
    clock.now_s += REPORT_INTERVAL_S
    assert [record.dropped > 0 for record in lines.flush()] == [True]


def test_a_pipe_is_read_until_its_last_writer_closes_it() -> None:
    """A pipe is read until its last writer closes it.

    A non-blocking writer to a full pipe loses its text instead of waiting.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        pipe.write(CORE)
        written = 0
        while pipe.write(b"x" * 999 + b"\n") is not None:
            written += 1
    records: list[ForeignRecord] = []
    thread = threading.Thread(target=forward_records, args=(reader, records.append))
    thread.start()
    thread.join(60)

    assert not thread.is_alive()
    assert written > 10
    assert records[0].text == CORE.decode().rstrip()
    assert records[1].text == "x" * 999
