"""Faster imports of a whole program, without garbage collection and without packages that it does not need."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# structlog imports Rich if it can, for tracebacks on a terminal. Services log JSON, and save 4 MB without Rich.
RICH = "rich"


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


@contextmanager
def loading_service() -> Iterator[None]:
    """Import the modules of a service as `loading` does, and without Rich."""
    hidden = RICH not in sys.modules
    if hidden:
        sys.modules[RICH] = None  # type: ignore[assignment]  # makes `import rich` fail (importlib documents it)
    try:
        with loading():
            yield
    finally:
        if hidden:
            del sys.modules[RICH]
