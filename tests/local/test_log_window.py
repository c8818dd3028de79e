from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from local import log_window
from local.log_reader import LogLine
from local.log_window import lines_between, time_of

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 11, 29, 8, 0, tzinfo=UTC)


def at(number: int) -> datetime:
    """Return the time of a line."""
    return START + timedelta(milliseconds=10 * number)


def line(number: int) -> str:
    """Return a line of a log, of any length."""
    filling = "x" * random.Random(number).randrange(300)  # noqa: S311 - no secret
    return (
        json.dumps({"timestamp": at(number).isoformat().replace("+00:00", "Z"), "event": number, "text": filling})
        + "\n"
    )


def numbers(folder: Path, first: datetime, last: datetime) -> list[object]:
    """Return the events of the lines between two times."""
    return [each.facts["event"] for each in lines_between(folder, "gym", first, last)]


@pytest.mark.parametrize("seed", range(30))
def test_the_lines_of_a_time_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The search returns the lines from the first time to the last one, from both files of a log."""
    monkeypatch.setattr(log_window, "BLOCK_BYTES", 256)
    rng = random.Random(seed)  # noqa: S311 - no secret
    cut, end = rng.randrange(1, 400), 400
    (tmp_path / "gym.old.jsonl").write_text("".join(map(line, range(cut))))
    (tmp_path / "gym.jsonl").write_text("".join(map(line, range(cut, end))))

    for _ in range(10):
        first = rng.randrange(-5, end + 5)
        last = first + rng.randrange(20)
        expected = [number for number in range(first, last + 1) if 0 <= number < end]
        assert numbers(tmp_path, at(first), at(last)) == expected


def test_lines_without_a_time_belong_to_the_line_before(tmp_path: Path) -> None:
    """A line that is not JSON has the time of the line before it. An incomplete last line is skipped."""
    (tmp_path / "gym.jsonl").write_text(f"early\n{line(1)}text\n{line(2)}later text\n{line(3)}" + line(4)[:-5])

    assert numbers(tmp_path, at(1), at(1)) == [1, "text"]
    assert numbers(tmp_path, at(0), at(9)) == [1, "text", 2, "later text", 3]


def test_a_log_without_times_has_no_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large log without any time, an empty one and a missing one have no lines of a time."""
    monkeypatch.setattr(log_window, "BLOCK_BYTES", 64)
    (tmp_path / "gym.jsonl").write_text("text\n" * 500 + "\xff\n")
    (tmp_path / "user.jsonl").touch()

    for name in ("gym", "user", "payment"):
        assert list(lines_between(tmp_path, name, at(0), at(9))) == []


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-11-29T08:00:00Z", START),
        ("2026-11-29T08:00:00", START),
        ("2026-11-29T09:00:00+01:00", START),
        ("", None),
        ("soon", None),
    ],
)
def test_a_time_without_a_zone_is_in_utc(timestamp: str, expected: datetime | None) -> None:
    """The time of a line is read with its zone, or in UTC if it has none."""
    assert time_of(LogLine(timestamp, "gym", {})) == expected
