"""A small disk: a file system in memory, of a given size, that a test fills or finds read-only."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024
FILLING = "filling"


@contextmanager
def small_disk(folder: Path, size_mib: int, *, read_only: bool = False) -> Iterator[Path]:
    """Mount one at `folder`; skip the test where this process may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_mib}m,mode=755{',ro' if read_only else ''}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    """Write until nothing more fits."""
    with (disk / FILLING).open("ab", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while file.write(b"0" * size):
                    pass
            except OSError:
                continue


def make_room(disk: Path) -> None:
    """Take away what `fill` wrote."""
    (disk / FILLING).unlink()
