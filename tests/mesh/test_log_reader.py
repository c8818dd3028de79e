from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

from mesh.log_reader import LogFollower, last_lines, services_with_logs

if TYPE_CHECKING:
    from pathlib import Path


def line(second: int, event: str, correlation_id: str = "") -> str:
    """Make a line as services write it."""
    facts = {"event": event, "level": "info", "timestamp": f"2026-03-03T10:00:{second:02}Z"}
    return json.dumps(facts | ({"correlation_id": correlation_id} if correlation_id else {})) + "\n"


def write(path: Path, *lines: str) -> None:
    """Append to a log."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def events(follower: LogFollower) -> list[str]:
    """Return what is new."""
    return [each.facts["event"] for each in follower.new_lines()]


def test_the_logs_of_all_services_are_one_in_the_order_of_time(tmp_path: Path) -> None:
    """The older file of a log that has started anew is read as well."""
    write(tmp_path / "gym.old.jsonl", line(1, "a"))
    write(tmp_path / "gym.jsonl", line(3, "c"), line(5, "e"))
    write(tmp_path / "user.jsonl", line(2, "b"), line(4, "d"))

    found = last_lines(tmp_path, ["gym", "user"], 4)

    assert services_with_logs(tmp_path) == ["gym", "user"]
    assert [(each.service, each.facts["event"]) for each in found] == [
        ("user", "b"), ("gym", "c"), ("user", "d"), ("gym", "e"),
    ]  # fmt: skip


def test_only_lines_of_a_correlation_id_are_read(tmp_path: Path) -> None:
    """Not those that only mention it."""
    write(tmp_path / "gym.jsonl", line(1, "ours", "abcd1234"), line(2, "abcd1234"), line(3, "other", "abcd12345"))

    found = last_lines(tmp_path, ["gym"], 10, "abcd1234")

    assert [each.facts["event"] for each in found] == ["ours"]


def test_a_line_that_is_half_written_waits_for_its_other_half(tmp_path: Path) -> None:
    """It is not shown in two pieces, nor is it lost."""
    log, whole = tmp_path / "gym.jsonl", line(2, "half")
    write(log, line(1, "before"), whole[:9])
    with closing(LogFollower(tmp_path, "gym")) as follower:
        assert [each.facts["event"] for each in last_lines(tmp_path, ["gym"], 9)] == ["before"]
        assert events(follower) == []

        write(log, whole[9:20])
        assert events(follower) == []
        write(log, whole[20:], line(3, "after"))

        assert events(follower) == ["half", "after"]
        assert events(follower) == []


def test_a_log_that_starts_anew_is_followed(tmp_path: Path) -> None:
    """Lines written before the renaming are shown as well; so is a log that is emptied or appears later."""
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


def test_what_is_no_json_is_shown_where_it_stands(tmp_path: Path) -> None:
    """A process that cannot start writes a traceback; a process that is killed leaves a half line in the middle."""
    write(tmp_path / "gym.jsonl", line(1, "a"), "Traceback:\n", line(2, "b")[:20] + line(3, "c"), "5\n", line(4, "d"))
    with (tmp_path / "gym.jsonl").open("ab") as log:
        log.write(b"\xff\xfe\n")

    found = last_lines(tmp_path, ["gym"], 9)

    assert [each.timestamp[-3:-1] for each in found] == ["01", "01", "01", "01", "04", "04"]
    assert [each.facts["event"] for each in found][:2] == ["a", "Traceback:"]
    assert found[-1].facts["event"] == "\ufffd\ufffd"


def test_a_long_half_line_is_waited_for_too(tmp_path: Path) -> None:
    """It may be longer than a block that is read backwards."""
    whole = line(2, "x" * 10_000)
    write(tmp_path / "gym.jsonl", line(1, "a"), whole[:9_000])
    with closing(LogFollower(tmp_path, "gym")) as follower:
        write(tmp_path / "gym.jsonl", whole[9_000:])

        assert [len(each) for each in events(follower)] == [10_000]
