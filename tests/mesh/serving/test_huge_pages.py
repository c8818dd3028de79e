"""Memory on huge pages. A test that moves memory runs another program, so that the memory of pytest stays."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.supervised_settings import environment_of_all_services, environment_of_console, environment_of_service
from mesh.config import child_environment, load_settings
from mesh.serving.huge_pages import HUGE_PAGE_BYTES, _huge_pages_in
from tests.support.local_mesh import LocalMesh

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB = 1024
IS_SUPPORTED = (
    sys.platform == "linux"
    and Path("/sys/kernel/mm/transparent_hugepage").exists()
    and tuple(map(int, platform.release().split(".")[:2])) >= (6, 1)
)
needs_huge_pages = pytest.mark.skipif(not IS_SUPPORTED, reason="the kernel cannot move memory to huge pages")

# Writes 8 bytes every STEP bytes of 16 MiB, moves the memory, and prints two changes in KiB: of the memory in use, and
# of the memory on huge pages.
PROGRAM = """
import mmap, re, sys
from pathlib import Path
from mesh.serving.huge_pages import use_huge_pages

def measured():
    text = Path("/proc/self/smaps_rollup").read_text()
    return [int(re.search(rf"^{name}: *(\\d+)", text, re.M)[1]) for name in ("Rss", "AnonHugePages")]

step = int(sys.argv[1])
memory = mmap.mmap(-1, 16 * 1024 * 1024, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, len(memory), step):
    memory[at : at + 8] = at.to_bytes(8)
before = measured()
use_huge_pages()
assert all(int.from_bytes(memory[at : at + 8]) == at for at in range(0, len(memory), step))
print(*(now - then for now, then in zip(measured(), before, strict=True)))
"""
# Writes the KiB of a service on huge pages to a file, because the output of a service is its log.
SERVICE = """
import re, sys
from contextlib import asynccontextmanager
from pathlib import Path
from mesh.serving import program

@asynccontextmanager
async def work(settings):
    text = Path("/proc/self/smaps_rollup").read_text()
    Path(sys.argv[1]).write_text(re.search(r"AnonHugePages: *(\\d+)", text)[1])
    raise SystemExit
    yield

program.run("echo", work, needs_database=False)
"""

# Maps the named file before it moves the memory.
WITH_MAPPED_FILE = """
import mmap, sys
from mesh.serving.huge_pages import use_huge_pages

with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE):
    use_huge_pages()
"""
WITHOUT_MAPPINGS = """
import sys
from pathlib import Path
from mesh.serving import huge_pages

huge_pages.MAPPINGS = Path(sys.argv[1])
print(huge_pages.use_huge_pages())
"""
WITHOUT_FUNCTIONS = """
import ctypes
from mesh.serving import huge_pages

ctypes.CDLL = lambda _name: object()
print(huge_pages.use_huge_pages())
"""


def output_of(program: str, *arguments: str, **settings: object) -> str:
    """Run a program; return its standard output."""
    command = [sys.executable, "-c", program, *arguments]
    environment = child_environment(**settings)
    return subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60, text=True).stdout


@needs_huge_pages
def test_memory_in_use_is_moved_with_its_content() -> None:
    """Memory in use is moved to huge pages with its content, and grows by less than 1 MiB."""
    grown_kib, moved_kib = map(int, output_of(PROGRAM, "4096").split())

    assert moved_kib >= 14 * KIB
    assert grown_kib < KIB


@needs_huge_pages
def test_memory_that_is_hardly_used_is_not_moved() -> None:
    """Memory with one of sixteen pages in use is not moved, because it would grow to sixteen times its size."""
    grown_kib, moved_kib = map(int, output_of(PROGRAM, str(16 * 4096)).split())

    assert moved_kib < 8 * KIB
    assert grown_kib < KIB


@needs_huge_pages
@pytest.mark.parametrize("is_on", [True, False])
def test_a_setting_turns_huge_pages_off(tmp_path: Path, *, is_on: bool) -> None:
    """A service uses huge pages unless HUGE_PAGES is false."""
    written = tmp_path / "kib"

    output_of(SERVICE, str(written), huge_pages=is_on)

    assert (int(written.read_text()) > 0) == is_on


def test_only_private_memory_without_a_file_is_moved() -> None:
    """Files, shared memory and code are not moved, and neither is memory smaller than a huge page."""
    size = HUGE_PAGE_BYTES
    mappings = [
        f"{size - 4096:x}-{4 * size - 1:x} rw-p 00000000 00:00 0 ",
        f"{8 * size:x}-{9 * size:x} rw-p 00000000 00:00 0          [heap]",
        f"{10 * size:x}-{11 * size:x} rw-p 00000000 08:01 77 /usr/lib/a b.so",
        f"{12 * size:x}-{13 * size:x} rw-s 00000000 00:00 0 ",
        f"{14 * size:x}-{15 * size:x} r-xp 00000000 00:00 0 ",
        f"{16 * size + 4096:x}-{17 * size:x} rw-p 00000000 00:00 0 ",
    ]

    assert list(_huge_pages_in(map(str.encode, mappings))) == [size, 2 * size, 8 * size]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has huge pages")
@pytest.mark.parametrize("name", [b"jos\xe9", b"a\x0cb", b"a\rb", "a\u2028b".encode(), b"a\nb", b" 0-f rw-p 0 0:0 0"])
def test_a_mapped_file_may_have_any_name(tmp_path: Path, name: bytes) -> None:
    """A mapped file with any bytes in its name does not stop a service."""
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    file.write_bytes(bytes(mmap.PAGESIZE))

    output_of(WITH_MAPPED_FILE, os.fspath(file))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has huge pages")
def test_without_a_list_of_mappings_nothing_moves(tmp_path: Path) -> None:
    """Without /proc, memory stays where it is, and the service starts."""
    assert output_of(WITHOUT_MAPPINGS, str(tmp_path / "missing")) == "0\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has huge pages")
def test_without_the_functions_of_the_kernel_nothing_moves() -> None:
    """With a libc that lacks one of the functions, memory stays where it is, and the service starts."""
    assert output_of(WITHOUT_FUNCTIONS) == "0\n"


@pytest.fixture
def mesh() -> Iterator[LocalMesh]:
    """Make the settings of a mesh that is not running."""
    with LocalMesh.in_new_folder() as mesh:
        yield mesh


def test_a_local_mesh_shares_its_memory_instead(mesh: LocalMesh) -> None:
    """No process of a local mesh uses huge pages, unless its settings ask for it."""
    for environment in (
        environment_of_service(mesh.settings, "gym"),
        environment_of_all_services(mesh.settings),
        environment_of_console(mesh.settings),
    ):
        assert environment["HUGE_PAGES"] == "False"
    assert environment_of_service(mesh.settings_with(huge_pages=True), "gym")["HUGE_PAGES"] == "True"
    assert load_settings().huge_pages
