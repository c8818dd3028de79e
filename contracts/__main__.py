"""Commands for contracts of any project: `python -m contracts diff REF`."""

from __future__ import annotations

import sys

from contracts.diff.command import main_diff

COMMANDS = {"diff": main_diff}


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: python -m contracts {{{','.join(COMMANDS)}}} ...", file=sys.stderr)  # noqa: T201 - output of the command
        return 2
    return COMMANDS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
