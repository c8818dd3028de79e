from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.telemetry.span_files import append_lines
from operations.traces import span_follower
from operations.traces.span_follower import SpanFollower

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICES = ("gym", "user")
ROUNDS = 15
# Writes 100 lines for each line of input. Both processes together rotate the file at most once in a round.
WRITER = """
import sys
from pathlib import Path
from mesh.telemetry import span_files

span_files.MAX_FILE_BYTES = 60_000
for number, _ in enumerate(sys.stdin):
    for line in range(100 * number, 100 * number + 100):
        span_files.append_lines(Path(sys.argv[1]), f"{sys.argv[2]} {line} {'x' * 100}\\n".encode())
    print("done", flush=True)
"""


def new_lines(follower: SpanFollower) -> list[str]:
    """Return the new lines of a follower, without empty ones."""
    return [line.decode() for lines in follower.new_blocks() for line in lines if line]


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[SpanFollower]:
    """Return a follower of tmp_path."""
    with closing(SpanFollower(tmp_path)) as found:
        yield found


class Store:
    """Span folder with a writer, and the lines that a follower must return."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self.expected: list[str] = []

    def write(self, service: str) -> None:
        """Write a whole line, as a service does."""
        self._number += 1
        line = f"line {self._number} of {service}"
        append_lines(self._folder / f"{service}.jsonl", f"{line}\n".encode())
        self.expected.append(line)

    def kill_writer(self, service: str) -> None:
        """Leave half a line. The next writer ends it, so that the follower then sees it as a line."""
        path = self._folder / f"{service}.jsonl"
        with path.open("ab") as file:
            file.write(b"torn")

    def rotate(self, service: str) -> None:
        """Rename the file, as a service does before it writes to a new file."""
        path = self._folder / f"{service}.jsonl"
        if path.exists():
            path.replace(path.with_suffix(".old.jsonl"))


STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "kill_writer", "rotate", "read"]), st.sampled_from(SERVICES)),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(1, 60))
def test_every_line_is_read_once(steps: list[tuple[str, str]], block_bytes: int) -> None:
    """Every line is read once and in the order of its service, whatever happens between the reads.

    At most one rotation per service happens between two reads. More rotations delete lines.
    """
    with (
        TemporaryDirectory() as folder,
        closing(SpanFollower(Path(folder))) as follower,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setattr(span_follower, "BLOCK_BYTES", block_bytes)
        store = Store(Path(folder))
        seen: list[str] = []
        rotated: set[str] = set()
        for action, service in steps:
            if action == "read":
                seen += new_lines(follower)
                rotated.clear()
            elif action != "rotate":
                getattr(store, action)(service)
            elif service not in rotated:
                rotated.add(service)
                store.rotate(service)
        seen += new_lines(follower)

    whole = [line for line in seen if line.startswith("line")]
    assert sorted(whole) == sorted(store.expected)
    for name in SERVICES:
        assert [line for line in whole if line.endswith(name)] == [x for x in store.expected if x.endswith(name)]
    assert set(seen) - set(whole) <= {"torn" * times for times in range(1, 41)}


def test_two_rotations_between_reads_lose_only_the_deleted_file(tmp_path: Path, follower: SpanFollower) -> None:
    """After two rotations, the open file, the older file and the current file are read."""
    store = Store(tmp_path)
    store.write("gym")
    assert new_lines(follower) == ["line 1 of gym"]
    for _ in range(2):
        store.write("gym")
        store.rotate("gym")
    store.write("gym")

    assert new_lines(follower) == ["line 2 of gym", "line 3 of gym", "line 4 of gym"]
    assert new_lines(follower) == []


def test_a_rotation_without_a_new_file_loses_nothing(tmp_path: Path, follower: SpanFollower) -> None:
    """A service may rotate its file and end before it writes a new one, twice."""
    store = Store(tmp_path)
    for number in (1, 2):
        store.write("gym")
        store.rotate("gym")
        assert new_lines(follower) == [f"line {number} of gym"]
    assert new_lines(follower) == []


def test_a_deleted_file_does_not_repeat_the_older_one(tmp_path: Path, follower: SpanFollower) -> None:
    """The older file is not read again if the current one is deleted or replaced."""
    store = Store(tmp_path)
    store.write("gym")
    store.rotate("gym")
    store.write("gym")
    assert len(new_lines(follower)) == 2
    (tmp_path / "gym.jsonl").unlink()
    assert new_lines(follower) == []
    store.write("gym")
    assert new_lines(follower) == ["line 3 of gym"]


def test_stored_lines_of_both_files_are_read_first(tmp_path: Path, follower: SpanFollower) -> None:
    """A new follower reads the older file of a service, then the current one."""
    store = Store(tmp_path)
    store.write("gym")
    store.rotate("gym")
    store.write("gym")

    assert new_lines(follower) == store.expected


def test_an_incomplete_line_is_read_when_it_is_complete(tmp_path: Path, follower: SpanFollower) -> None:
    """A line that is being written is read once, when its end is written."""
    path = tmp_path / "gym.jsonl"
    path.write_bytes(b"first\nsec")
    assert new_lines(follower) == ["first"]

    with path.open("ab") as file:
        file.write(b"ond\nthi")
    assert new_lines(follower) == ["second"]
    assert new_lines(follower) == []


def test_a_truncated_file_is_read_again(tmp_path: Path, follower: SpanFollower) -> None:
    """A file that became shorter is read from its start."""
    path = tmp_path / "gym.jsonl"
    path.write_bytes(b"first\nsecond\nthi")
    new_lines(follower)
    path.write_bytes(b"new\n")

    assert new_lines(follower) == ["new"]


def test_a_new_folder_is_followed(tmp_path: Path) -> None:
    """A folder that does not exist yet has no lines. Its files are read when they appear, also after a deletion."""
    folder = tmp_path / "spans"
    with closing(SpanFollower(folder)) as follower:
        assert new_lines(follower) == []
        for text in ("first", "second"):
            folder.mkdir(exist_ok=True)
            (folder / "gym.jsonl").write_text(f"{text}\n")
            assert new_lines(follower) == [text]
            (folder / "gym.jsonl").unlink()
            assert new_lines(follower) == []


def test_an_endless_line_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than MAX_LINE_BYTES is dropped. The lines after it are read."""
    monkeypatch.setattr(span_follower, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(span_follower, "BLOCK_BYTES", 100)
    (tmp_path / "gym.jsonl").write_bytes(b"x" * 100_000 + b"\nnext\n")
    with closing(SpanFollower(tmp_path)) as follower:
        lines = [line for lines in follower.new_blocks() for line in lines]

    assert lines[-2:] == [b"next", b""] or lines[-1] == b"next"
    assert max(map(len, lines)) <= 1100


def test_lines_of_two_writing_processes_are_read(tmp_path: Path, follower: SpanFollower) -> None:
    """Every line of two processes is read while they write to one file and rotate it."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path / "gym.jsonl", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for name in "ab"
    ]
    seen: list[str] = []
    for _ in range(ROUNDS):
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("\n")
        for writer in writers:
            assert writer.stdout is not None
            seen += new_lines(follower)  # while the processes write
            writer.stdout.readline()
        seen += new_lines(follower)
    for writer in writers:
        writer.communicate(timeout=60)

    assert [writer.returncode for writer in writers] == [0, 0]
    for name in "ab":
        assert [line.split()[1] for line in seen if line.startswith(name)] == list(map(str, range(100 * ROUNDS)))
    assert (tmp_path / "gym.old.jsonl").exists()
