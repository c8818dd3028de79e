from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING

import psutil
import pytest

from operations.logs.filter import LogFilter
from operations.logs.tail import BUFFERED_LINES, PARSED_LINES, LogTail, LogView
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from local.log_reader import LogLine


@pytest.fixture
async def tail(tmp_path: Path) -> AsyncIterator[LogTail]:
    """Return a tail of an empty folder."""
    found = LogTail(tmp_path)
    yield found
    await found.close()


def write(path: Path, *numbers: int) -> None:
    """Append a line per number to a log."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"n": n, "timestamp": f"2026-03-03T10:{n:08}Z"}) + "\n" for n in numbers)


def numbers(lines: list[LogLine]) -> list[int]:
    """Return the numbers of lines."""
    return [line.facts["n"] for line in lines]


def times_open(path: Path) -> int:
    """Return how often this process has a file open."""
    return [each.path for each in psutil.Process().open_files()].count(str(path))


async def taken(view: LogView, number: int) -> list[int]:
    """Return the numbers of the next `number` lines of a view."""
    await eventually(lambda: len(view) >= number)
    lines, dropped = view.take()
    assert dropped == 0
    return numbers(lines)


async def test_a_view_continues_exactly_where_its_history_ends(tail: LogTail, tmp_path: Path) -> None:
    """While lines are written, each view gets every line exactly once: in its history or afterwards."""
    log, ends = tmp_path / "gym.jsonl", threading.Event()
    write(log, *range(10))

    def write_on() -> None:
        for n in range(10, 10_000):
            if ends.wait(0.001):
                return
            write(log, n)

    seen: list[tuple[LogView, list[int]]] = []

    def take_all() -> bool:
        for view, lines in seen:
            found, dropped = view.take()
            assert dropped == 0
            lines.extend(numbers(found))
        return all(len(lines) > 50 for _, lines in seen)

    writing = threading.Thread(target=write_on)
    writing.start()
    try:
        for _ in range(8):
            history, view = await tail.watch(["gym"], LogFilter(), 10)
            seen.append((view, numbers(history)))
            await asyncio.sleep(0.07)  # the views begin at different moments between two reads
            take_all()
        await eventually(take_all)
    finally:
        ends.set()
        writing.join()
    for _, lines in seen:
        assert lines == list(range(lines[0], lines[0] + len(lines)))


async def test_all_viewers_share_one_open_file(tail: LogTail, tmp_path: Path) -> None:
    """A log is opened once for all viewers, and closed after the last one has left."""
    log = tmp_path / "gym.jsonl"
    write(log, 1)
    views = [(await tail.watch(["gym"], LogFilter(), 1))[1] for _ in range(5)]
    write(log, 2)

    assert [await taken(view, 1) for view in views] == [[2]] * 5
    assert times_open(log) == 1

    for view in views:
        tail.leave(view)
    await eventually(lambda: times_open(log) == 0)

    history, view = await tail.watch(["gym"], LogFilter(), 5)
    write(log, 3)
    assert numbers(history) == [1, 2]
    assert await taken(view, 1) == [3]


async def test_a_view_gets_only_lines_of_its_logs_that_match(tail: LogTail, tmp_path: Path) -> None:
    """A view gets the matching lines of its own logs in order of time, also of a log that appears later."""
    _, gym = await tail.watch(["gym"], LogFilter(), 9)
    _, both = await tail.watch(["gym", "new"], LogFilter(text="2"), 9)
    write(tmp_path / "user.jsonl", 1)
    write(tmp_path / "new.jsonl", 12)
    write(tmp_path / "gym.jsonl", 2, 3, 20)

    assert await taken(gym, 3) == [2, 3, 20]
    assert await taken(both, 3) == [2, 12, 20]


async def test_a_slow_viewer_loses_the_oldest_lines_and_their_number_is_known(tail: LogTail, tmp_path: Path) -> None:
    """A backlog holds the newest lines only. Dropped lines are counted, also those that were not even parsed."""
    write(tmp_path / "gym.jsonl", 0)
    _, view = await tail.watch(["gym"], LogFilter(), 1)
    written = 3 * PARSED_LINES
    write(tmp_path / "gym.jsonl", *range(written))

    await eventually(lambda: len(view) == written)
    lines, dropped = view.take()

    assert numbers(lines) == list(range(written - BUFFERED_LINES, written))
    assert dropped == written - BUFFERED_LINES
    assert len(view) == 0

    write(tmp_path / "gym.jsonl", 1, 2, 3)
    await eventually(lambda: len(view) == 3)
    lines, dropped = view.take(2)
    assert (numbers(lines), dropped, len(view)) == ([2, 3], 1, 0)


async def test_a_log_that_cannot_be_read_is_reported_until_it_can(tail: LogTail, tmp_path: Path) -> None:
    """A failed read is reported in one sentence, and reading continues when the log is a file again."""
    log = tmp_path / "gym.jsonl"
    write(log, 1)
    _, view = await tail.watch(["gym"], LogFilter(), 1)
    log.unlink()
    log.mkdir()

    await eventually(lambda: tail.trouble == f"{log} cannot be read: Is a directory.")
    log.rmdir()
    write(log, 2)

    assert await taken(view, 1) == [2]
    assert tail.trouble == ""


async def test_a_view_of_unreadable_logs_is_not_opened(tail: LogTail, tmp_path: Path) -> None:
    """If a log cannot be opened, `watch` raises the error and leaves no file open."""
    readable = tmp_path / "auth.jsonl"
    write(readable, 1)
    (tmp_path / "gym.jsonl").mkdir()

    with pytest.raises(IsADirectoryError):
        await tail.watch(["auth", "gym"], LogFilter(), 1)

    assert times_open(readable) == 0


class BrokenFilter(LogFilter):
    """Filter that fails."""

    def matches(self, line: LogLine) -> bool:
        raise ZeroDivisionError


async def test_a_fault_is_reported_and_does_not_end_the_tail(tail: LogTail, tmp_path: Path) -> None:
    """An unexpected error is reported, and the next lines reach the views."""
    _, broken = await tail.watch(["gym"], BrokenFilter(), 1)
    _, view = await tail.watch(["gym"], LogFilter(), 1)
    write(tmp_path / "gym.jsonl", 1)

    await eventually(lambda: tail.trouble.startswith("The logs cannot be read. The reason is in the log"))
    tail.leave(broken)
    write(tmp_path / "gym.jsonl", 2)

    assert await taken(view, 1) == [2]
    assert tail.trouble == ""
