from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

import mesh.serving.watched_file
from mesh.serving.watched_file import WatchedFile

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a file that contains a number, and disable the pause between reloads."""
    monkeypatch.setattr(mesh.serving.watched_file, "RELOAD_INTERVAL_S", 0.0)
    path = tmp_path / "number"
    path.write_text("1")
    return path


def corrupt(path: Path) -> None:
    """Write content that cannot be parsed."""
    path.write_text("no number")


@pytest.mark.requirement("S2")
def test_a_change_is_loaded_on_the_next_use(path: Path) -> None:
    """A change is seen on the next use, whether the file was written to or replaced."""
    number = WatchedFile(path, int)
    assert number() == 1

    path.write_text("22")
    assert number() == 22

    (path.parent / "new").write_text("33")
    (path.parent / "new").replace(path)
    assert number() == 33


@pytest.mark.requirement("S1")
def test_the_file_is_not_read_on_every_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the reload interval a change is not seen, because a use does not access the disk."""
    number = WatchedFile(path, int)
    monkeypatch.setattr(mesh.serving.watched_file, "RELOAD_INTERVAL_S", 3600.0)

    path.write_text("22")

    assert number() == 1


def test_a_change_is_loaded_within_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is seen within a second, but not at once."""
    monkeypatch.undo()
    now_s = 100.0
    number = WatchedFile(path, int, lambda: now_s)
    path.write_text("22")

    now_s += 0.01
    assert number() == 1
    now_s += 0.98

    assert number() == 22


@pytest.mark.requirement("S2")
@pytest.mark.parametrize("ruin", [corrupt, Path.unlink])
def test_a_broken_file_does_not_replace_the_last_good_content(path: Path, ruin: Callable[[Path], None]) -> None:
    """An invalid or missing file leaves the last good content in use.

    The error is logged once, without the content.
    """
    number = WatchedFile(path, int)
    ruin(path)

    with capture_logs() as logs:
        assert [number() for _ in range(3)] == [1, 1, 1]

    assert [line["log_level"] for line in logs] == ["error"]
    assert logs[0]["file"] == str(path)
    assert "no number" not in str(logs)

    path.write_text("4")
    assert number() == 4


def test_a_file_must_be_valid_at_the_start(path: Path) -> None:
    """An invalid or missing file raises an error at the start, because there is no last good content yet."""
    corrupt(path)

    with pytest.raises(ValueError, match="no number"):
        WatchedFile(path, int)
    with pytest.raises(FileNotFoundError):
        WatchedFile(path.parent / "missing", int)
