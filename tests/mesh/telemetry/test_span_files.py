from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from mesh.telemetry import span_files
from mesh.telemetry.span_files import append_lines, open_files, services_with_spans

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WRITER = """
import sys
from pathlib import Path
from mesh.telemetry import span_files

span_files.MAX_FILE_BYTES = 100_000
sys.stdin.readline()
for number in range(150):
    block = "".join(f"{sys.argv[2]} {number} {part} {'x' * 50}\\n" for part in range(10))
    span_files.append_lines(Path(sys.argv[1]), block.encode())
"""


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """Lines of two processes never mix, and their rotations never replace the older file by a short one."""
    path = tmp_path / "gym.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name], stdin=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)

    assert [writer.returncode for writer in writers] == [0, 0]
    older, current = tmp_path / "gym.old.jsonl", path
    assert older.stat().st_size > 100_000
    lines = (older.read_text() + current.read_text()).splitlines()
    assert {len(line.split()) for line in lines} == {4}
    for name in ("a", "b"):
        blocks = [int(line.split()[1]) for line in lines if line.startswith(name)]
        assert blocks == sorted(blocks)
        assert blocks[-10:] == [149] * 10


def test_half_a_line_of_a_killed_process_is_ended(tmp_path: Path) -> None:
    """The first line after half a line of a killed process is whole."""
    path = tmp_path / "gym.jsonl"
    path.write_bytes(b'{"trace_id": "12')

    append_lines(path, b"{}\n")
    append_lines(path, b"{}\n")

    assert path.read_bytes() == b'{"trace_id": "12\n{}\n{}\n'


def test_the_files_of_a_service_are_opened_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older file of a service comes first. A service with only an older file is listed too."""
    monkeypatch.setattr(span_files, "MAX_FILE_BYTES", 3)
    for line in (b"one\n", b"two\n"):
        append_lines(tmp_path / "gym.jsonl", line)
    (tmp_path / "user.old.jsonl").write_bytes(b"three\n")

    assert services_with_spans(tmp_path) == ["gym", "user"]
    assert services_with_spans(tmp_path / "nowhere") == []
    found = {}
    for name in ("gym", "user", "none"):
        files = open_files(tmp_path, name)
        found[name] = [file.read() for file in files]
        for file in files:
            file.close()
    assert found == {"gym": [b"one\n", b"two\n"], "user": [b"three\n"], "none": []}
