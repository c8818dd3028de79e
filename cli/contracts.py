"""`solo60 contracts`: commands for the contracts of the current folder."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

import contracts.checks.command
import contracts.diff.command
from contracts.failure import FAILURES, sentence_of
from contracts.output import Format
from mesh.failure import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

group = typer.Typer(help="Check contracts, and compare them with an earlier version.", no_args_is_help=True)
FormatOption = Annotated[Format, typer.Option("--format", help="Format of the report.")]


class UnreadableContracts(BadSettings):
    """Contracts that cannot be read; the message gives the reason."""


@group.command()
def check(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE", help="File with a FileDescriptorSet, or - for standard input. Default: this folder."
        ),
    ] = None,
    *,
    form: FormatOption = Format.TEXT,
    ignore: Annotated[list[str] | None, typer.Option(metavar="ID", help="Do not run this check.")] = None,
) -> None:
    """Report the faults of contracts before anything runs. Exit with 1 if there are any."""
    with _readable():
        raise typer.Exit(contracts.checks.command.run(image, form, ignore or ()))


@group.command()
def diff(
    revision: Annotated[str, typer.Argument(metavar="REF", help="Git revision to compare with, such as main.")],
    *,
    form: FormatOption = Format.TEXT,
) -> None:
    """Show changes that break callers and that `buf breaking` does not see, with the callers that each one hits.

    Exit with 1 if there is a breaking change that `allowed-changes` in `pyproject.toml` does not list.
    """
    with _readable():
        raise typer.Exit(contracts.diff.command.run(revision, None, form))


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        raise
    except FAILURES as error:
        raise UnreadableContracts(sentence_of(error)) from None
