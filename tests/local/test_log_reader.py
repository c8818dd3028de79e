from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import psutil

from local.log_follower import LogFollower
from local.log_reader import BLOCK_BYTES, last_lines, services_with_logs
from operations.logs.filter import LogFilter

if TYPE_CHECKING:
    from pathlib import Path


def line(second: int, event: str, correlation_id: str = "") -> str:
    """Make a log line in the format of the services."""
    facts = {"event": event, "level": "info", "timestamp": f"2026-03-03T10:00:{second:02}Z"}
    return json.dumps(facts | ({"correlation_id": correlation_id} if correlation_id else {})) + "\n"


def write(path: Path, *lines: str) -> None:
    """Append to a log."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def events(follower: LogFollower) -> list[str]:
    """Return the events of the new lines."""
    return [each.facts["event"] for each in follower.new_lines()]


def test_the_logs_of_all_services_are_merged_by_time(tmp_path: Path) -> None:
    """The logs of all services, including rotated files, are merged in order of time."""
    write(tmp_path / "gym.old.jsonl", line(1, "a"))
    write(tmp_path / "gym.jsonl", line(3, "c"), line(5, "e"))
    write(tmp_path / "user.jsonl", line(2, "b"), line(4, "d"))

    found = last_lines(tmp_path, ["gym", "user"], 4, LogFilter())

    assert services_with_logs(tmp_path) == ["gym", "user"]
    assert [(each.service, each.facts["event"]) for each in found] == [
        ("user", "b"), ("gym", "c"), ("user", "d"), ("gym", "e"),
    ]  # fmt: skip


def test_only_lines_with_the_correlation_id_are_read(tmp_path: Path) -> None:
    """Only lines with the correlation id are read, not lines that mention it."""
    write(tmp_path / "gym.jsonl", line(1, "ours", "abcd1234"), line(2, "abcd1234"), line(3, "other", "abcd12345"))

    found = last_lines(tmp_path, ["gym"], 10, LogFilter(correlation_id="abcd1234"))

    assert [each.facts["event"] for each in found] == ["ours"]


def test_a_half_written_line_is_shown_when_complete(tmp_path: Path) -> None:
    """A half-written line is shown once, after it is complete."""
    log, whole = tmp_path / "gym.jsonl", line(2, "half")
    write(log, line(1, "before"), whole[:9])
    with closing(LogFollower(tmp_path, "gym")) as follower:
        assert [each.facts["event"] for each in last_lines(tmp_path, ["gym"], 9, LogFilter())] == ["before"]
        assert events(follower) == []

        write(log, whole[9:20])
        assert events(follower) == []
        write(log, whole[20:], line(3, "after"))

        assert events(follower) == ["half", "after"]
        assert events(follower) == []


def test_a_rotated_log_is_followed(tmp_path: Path) -> None:
    """A follower shows all lines of a log that appears later, is rotated, or is emptied."""
    log = tmp_path / "gym.jsonl"
    with closing(LogFollower(tmp_path, "gym")) as follower:
        assert events(follower) == []
        write(log, line(1, "appears"))
        assert events(follower) == ["appears"]

        write(log, line(2, "last of the old"))
        log.replace(tmp_path / "gym.old.jsonl")
        write(log, line(3, "first of the new"))
        assert events(follower) == ["last of the old", "first of the new"]

        log.write_text(line(4, "x"))
        assert events(follower) == ["x"]
        log.unlink()
        assert events(follower) == []


def test_lines_that_are_not_json_are_shown_in_place(tmp_path: Path) -> None:
    """A line that is not JSON, for example of a traceback, is shown in place with the time of the line before it."""
    write(tmp_path / "gym.jsonl", line(1, "a"), "Traceback:\n", line(2, "b")[:20] + line(3, "c"), "5\n", line(4, "d"))
    with (tmp_path / "gym.jsonl").open("ab") as log:
        log.write(b"\xff\xfe\n")

    found = last_lines(tmp_path, ["gym"], 9, LogFilter())

    assert [each.timestamp[-3:-1] for each in found] == ["01", "01", "01", "01", "04", "04"]
    assert [each.facts["event"] for each in found][:2] == ["a", "Traceback:"]
    assert found[-1].facts["event"] == "\ufffd\ufffd"


def test_a_half_written_line_may_be_long(tmp_path: Path) -> None:
    """A half-written line may be longer than the blocks in which the reader reads backwards."""
    whole = line(2, "x" * 10_000)
    write(tmp_path / "gym.jsonl", line(1, "a"), whole[:9_000])
    with closing(LogFollower(tmp_path, "gym")) as follower:
        write(tmp_path / "gym.jsonl", whole[9_000:])

        assert [len(each) for each in events(follower)] == [10_000]


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    """The last lines of a log of 16 MiB are found by reading less than 1 MiB."""
    filler = line(1, "x" * 500)
    write(tmp_path / "gym.jsonl", *[filler] * (16 * 2**20 // len(filler)), line(2, "last"))
    before = psutil.Process().io_counters().read_chars

    found = last_lines(tmp_path, ["gym"], 200, LogFilter())

    assert psutil.Process().io_counters().read_chars - before < 2**20
    assert [len(found), found[-1].facts["event"]] == [200, "last"]


def test_lines_longer_than_a_block_are_read_backwards(tmp_path: Path) -> None:
    """Lines of any length, empty ones and those at block boundaries are read whole and in order."""
    lengths = [1, 200_000, 0, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2, 0]
    (tmp_path / "gym.jsonl").write_text("".join("x" * length + "\n" for length in lengths) + "incomplete")

    found = last_lines(tmp_path, ["gym"], 99, LogFilter())

    assert [len(each.facts["event"]) for each in found] == lengths


def test_history_ends_where_a_follower_begins(tmp_path: Path) -> None:
    """A line belongs either to the history before a follower or to the follower, also after a rotation."""
    log = tmp_path / "gym.jsonl"
    write(log, line(1, "a"), line(2, "b"), line(3, "c")[:9])
    with closing(LogFollower(tmp_path, "gym")) as follower:
        before = {"gym": follower.position}
        write(log, line(3, "c")[9:], line(4, "d"))
        log.replace(tmp_path / "gym.old.jsonl")
        write(log, line(5, "e"))

        history = last_lines(tmp_path, ["gym"], 9, LogFilter(), before)

        assert [each.facts["event"] for each in history] == ["a", "b"]
        assert events(follower) == ["c", "d", "e"]


def test_a_log_that_does_not_exist_yet_has_no_history(tmp_path: Path) -> None:
    """All lines of a log that appears after a follower belong to the follower."""
    with closing(LogFollower(tmp_path, "gym")) as follower:
        before = {"gym": follower.position}
        write(tmp_path / "gym.jsonl", line(1, "a"))

        assert last_lines(tmp_path, ["gym"], 9, LogFilter(), before) == []
        assert events(follower) == ["a"]


def test_a_follower_parses_only_the_latest_lines(tmp_path: Path) -> None:
    """With `max_lines`, a follower returns the latest new lines and counts the others."""
    with closing(LogFollower(tmp_path, "gym", max_lines=2)) as follower:
        write(tmp_path / "gym.jsonl", *(line(second, str(second)) for second in range(5)))

        assert events(follower) == ["3", "4"]
        assert follower.skipped == 3
