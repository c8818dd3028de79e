"""Records of a log that a process may still be writing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def records_of(log: Path, start: int = 0) -> list[dict[str, Any]]:
    """Return the records after the first `start` bytes, without an incomplete last one. Each must be an object."""
    lines = log.read_bytes()[start:].splitlines(keepends=True)
    records = [json.loads(line) for line in lines if line.endswith(b"\n")]
    assert all(isinstance(record, dict) for record in records)
    return records
