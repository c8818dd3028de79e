from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.machine import CACHES, caches

if TYPE_CHECKING:
    from pathlib import Path


def write_cache(folder: Path, index: int, level: str, kind: str, size: str) -> None:
    """Describe a cache as Linux does."""
    cache = folder / f"index{index}"
    cache.mkdir()
    for name, value in (("level", level), ("type", kind), ("size", size)):
        (cache / name).write_text(f"{value}\n", encoding="ascii")


def test_the_caches_of_a_core_are_listed_by_level(tmp_path: Path) -> None:
    """The description of the machine has the size of each cache: data, instructions, and both."""
    for index, cache in enumerate(
        (("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2048K"), ("3", "Unified", "36608K"))
    ):
        write_cache(tmp_path, index, *cache)

    assert caches(tmp_path) == "L1d 48 KiB, L1i 32 KiB, L2 2 MiB, L3 36608 KiB"


def test_a_machine_that_hides_its_caches_is_described(tmp_path: Path) -> None:
    """A virtual machine may describe no cache."""
    assert caches(tmp_path) == "unknown"


@pytest.mark.skipif(not CACHES.exists(), reason="this system describes no caches")
def test_the_caches_of_this_machine_are_read() -> None:
    """The caches of the machine that runs this test can be read."""
    assert caches().startswith("L1")
