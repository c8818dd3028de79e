"""Huge pages for the memory of a loaded process (transparent huge pages of Linux).

A call reads code and objects on hundreds of pages of 4 KiB. The processor caches the addresses of some pages (in its
TLB), and looks up all others again on each call. With pages of 2 MiB, there are fewer addresses to look up.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAPPINGS = Path("/proc/self/maps")
HUGE_PAGE_BYTES = 2 * 1024 * 1024
# Share of a huge page that must be in use before the move, because all of it is in use afterwards.
MIN_SHARE_IN_USE = 0.75
# Advice of madvise(2), since Linux 6.1.
MADV_COLLAPSE = 25


def use_huge_pages() -> int:
    """Move the private memory of this process to huge pages; return their number.

    Memory that the process allocates later is not moved. Does nothing on a kernel without `MADV_COLLAPSE`.
    """
    if sys.platform != "linux":
        return 0
    try:
        system = ctypes.CDLL(None)
        madvise, mincore = system.madvise, system.mincore
        # Names of files are any bytes, but the kernel escapes a line feed in them.
        mappings = MAPPINGS.read_bytes().split(b"\n")
    except (OSError, AttributeError):  # a libc without these functions, or no /proc
        return 0
    address_and_length = ctypes.c_void_p, ctypes.c_size_t
    madvise.argtypes = *address_and_length, ctypes.c_int
    mincore.argtypes = *address_and_length, ctypes.c_char_p
    in_use = ctypes.create_string_buffer(HUGE_PAGE_BYTES // mmap.PAGESIZE)
    moved = 0
    for start in list(_huge_pages_in(mappings)):
        is_known = mincore(start, HUGE_PAGE_BYTES, in_use) == 0
        share_in_use = sum(page & 1 for page in in_use.raw) / len(in_use)
        if is_known and share_in_use >= MIN_SHARE_IN_USE:
            moved += madvise(start, HUGE_PAGE_BYTES, MADV_COLLAPSE) == 0
    return moved


def _huge_pages_in(mappings: Iterable[bytes]) -> Iterator[int]:
    """Yield the address of each huge page that fits into the private memory of `mappings`, lines of /proc/self/maps."""
    for line in filter(None, mappings):
        addresses, permissions, _offset, _device, inode, *_name = line.split()
        if permissions == b"rw-p" and inode == b"0":
            first, end = (int(address, 16) for address in addresses.split(b"-"))
            aligned = -(-first // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
            yield from range(aligned, end - HUGE_PAGE_BYTES + 1, HUGE_PAGE_BYTES)
