"""Start of the command line: loads it without a search for garbage, since loaded code is none."""

import gc
from typing import NoReturn

gc.disable()

from cli.main import main


def start() -> NoReturn:
    """Run one verb, as `cli.main.main` does."""
    gc.freeze()
    gc.enable()
    main()
