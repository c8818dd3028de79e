"""Faster imports of a whole program, without garbage collection."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def loading() -> Iterator[None]:
    """Disable garbage collection while modules are imported, and exclude them from later collections.

    Loaded code is not garbage, but each of the many collections during the imports would scan all of it.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
