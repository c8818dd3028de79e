"""Entry point of the `solo60` command."""

from __future__ import annotations

import sys
from typing import NoReturn

from mesh.loading import loading

INTERRUPTED = 130
STOPPED = 0


def main() -> NoReturn:
    """Run one verb as `cli.main.main` does, and exit without a traceback on Ctrl-C while its code is loaded.

    The exit code is then 130, or 0 for `up`, because Ctrl-C is its usual end.
    """
    try:
        with loading():
            from cli.main import main as run_verb  # noqa: PLC0415 - takes most of the time before the verb
        run_verb()
    except KeyboardInterrupt:
        raise SystemExit(_exit_code(INTERRUPTED)) from None
    except SystemExit as ended:
        ended.code = _exit_code(ended.code)
        raise


def _exit_code(code: str | int | None) -> str | int | None:
    # Typer handles Ctrl-C before it calls the function of the verb.
    return STOPPED if code == INTERRUPTED and sys.argv[1:2] == ["up"] else code
