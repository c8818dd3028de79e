"""Small file system in memory, for tests of full and read-only disks."""

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
    """Mount a file system at `folder` within the context; skip the test if this process may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_mib}m,mode=755{',ro' if read_only else ''}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    """Write to a file until the disk is full."""
    with (disk / FILLING).open("ab", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while file.write(b"0" * size):
                    pass
            except OSError:
                continue


def make_room(disk: Path) -> None:
    """Delete the file that `fill` wrote."""
    (disk / FILLING).unlink()
