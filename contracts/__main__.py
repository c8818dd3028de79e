"""Commands for contracts: `python -m contracts check [IMAGE]`."""

from __future__ import annotations

import argparse
import sys

from contracts.checks.command import CheckError, run
from contracts.checks.report import Format

EXIT_UNUSABLE = 2


def main() -> int:
    """Run one command and return its exit code: 0, 1 with findings, 2 for an unreadable image or a wrong argument."""
    arguments = _parser().parse_args()
    try:
        return run(arguments.image, Format(arguments.format), arguments.ignore)
    except CheckError as error:
        print(error, file=sys.stderr)  # noqa: T201 - output of the command
        return EXIT_UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m contracts", description="Commands for contracts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="report the faults of contracts before anything runs")
    check.add_argument(
        "image",
        nargs="?",
        metavar="IMAGE",
        help="file with a FileDescriptorSet, or - for standard input; default: the buf workspace of this folder",
    )
    check.add_argument("--format", choices=list(Format), default=Format.TEXT, help="format of the findings")
    check.add_argument(
        "--ignore", action="append", default=[], metavar="ID", help="do not run this check; may be repeated"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
