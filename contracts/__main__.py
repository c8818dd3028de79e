"""Commands for the contracts of any project: `python -m contracts check` and `python -m contracts diff`."""

from __future__ import annotations

import argparse
import os
import sys

import contracts.checks.command
import contracts.diff.command
from contracts.failure import FAILURES, sentence_of
from contracts.output import Format

EXIT_UNUSABLE = 2
EXIT_CLOSED = 1
EXIT_INTERRUPTED = 130
DIFF = """\
Show changes that break callers and that `buf breaking` does not see, with the callers that each one hits. Exit with 1
if there is a breaking change that `allowed-changes` in pyproject.toml does not list."""


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code: 0, 1 with findings, 2 for unreadable contracts or a wrong argument."""
    options = _parser().parse_args(arguments)
    try:
        exit_code = _run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has read enough. Without this, Python would report the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CLOSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except FAILURES as error:
        print(sentence_of(error), file=sys.stderr)  # noqa: T201 - output of the command
        return EXIT_UNUSABLE
    return exit_code


def _run(options: argparse.Namespace) -> int:
    if options.command == "check":
        return contracts.checks.command.run(options.image, Format(options.format), options.ignore)
    return contracts.diff.command.run(options.before, options.after, Format(options.format))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m contracts", description="Commands for contracts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    check = commands.add_parser("check", help="report the faults of contracts before anything runs")
    check.add_argument(
        "image",
        nargs="?",
        metavar="IMAGE",
        help="file with a FileDescriptorSet, or - for standard input; default: the buf workspace of this folder",
    )
    check.add_argument(
        "--ignore", action="append", default=[], metavar="ID", help="do not run this check; may be repeated"
    )
    diff = commands.add_parser("diff", help="show changes that break callers", description=DIFF)
    diff.add_argument("before", metavar="REF|BEFORE", help="git revision, or an image that `buf build` wrote")
    diff.add_argument("after", metavar="AFTER", nargs="?", help="image; default: the contracts of this folder")
    for each in (check, diff):
        each.add_argument(
            "--format", choices=[str(form) for form in Format], default=str(Format.TEXT), help="default: %(default)s"
        )
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
