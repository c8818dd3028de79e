"""Loading: imports of a whole program without a search for garbage."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def loading() -> Iterator[None]:
    """Search for no garbage while the modules of a program are imported, nor ever again among them.

    Loaded code is no garbage, and each of the many searches during the imports would look through all of it.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
