from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.core_lines import CoreLineFilter, without_core_lines

if TYPE_CHECKING:
    from pathlib import Path

GOAWAY = b"I1128 04:15:40.827017   16146 chttp2_transport.cc:1403] ipv4:127.0.0.1:39675: Got goaway [2]\n"
ERROR = GOAWAY.replace(b"I1128", b"E1128")
FATAL = GOAWAY.replace(b"I1128", b"F1128")
OTHERS = b"Traceback (most recent call last):\n  I1128 is indented here\nno end"


def test_the_lines_of_grpcs_core_are_stored_and_all_others_forwarded(tmp_path: Path) -> None:
    """Lines of gRPC's core go into a file, all others are forwarded, and the summary names the file after an error."""
    reader, writer = os.pipe()
    lines = CoreLineFilter(writer, tmp_path / "core.log")

    os.write(writer, GOAWAY * 3 + OTHERS[:20])
    os.write(writer, OTHERS[20:] + b"\n" + GOAWAY + FATAL)
    quiet = lines.summary()
    os.write(writer, ERROR)
    lines.stop()
    os.close(writer)
    os.close(lines._original)

    with os.fdopen(reader, "rb") as shown:
        assert shown.read() == OTHERS + b"\n" + FATAL
    assert lines.path.read_bytes() == GOAWAY * 4 + ERROR
    assert quiet == ""
    assert lines.summary() == f"gRPC's core printed 1 warnings and errors between tests: {lines.path}"


def test_the_lines_of_grpcs_core_are_removed_from_a_text() -> None:
    """`without_core_lines` removes the core's lines, and returns all other text unchanged."""
    assert without_core_lines((GOAWAY + OTHERS + b"\n" + ERROR).decode()) == OTHERS.decode() + "\n"
