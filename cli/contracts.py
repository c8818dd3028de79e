"""`solo60 contracts`: commands for the contracts of the current folder."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.checks.command import CheckError, run
from contracts.checks.report import Format
from mesh.failure import BadSettings

contracts = typer.Typer(help="Check contracts.", no_args_is_help=True)
# Without a callback, Typer turns a group with a single command into that command.
contracts.callback()(lambda: None)


class UncheckedError(BadSettings):
    """Contracts that cannot be checked; the message gives the reason."""


@contracts.command()
def check(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE", help="File with a FileDescriptorSet, or - for standard input. Default: this folder."
        ),
    ] = None,
    *,
    form: Annotated[Format, typer.Option("--format", help="Format of the findings.")] = Format.TEXT,
    ignore: Annotated[list[str] | None, typer.Option(metavar="ID", help="Do not run this check.")] = None,
) -> None:
    """Report the faults of contracts before anything runs. Exit with 1 if there are any."""
    try:
        exit_code = run(image, form, ignore or ())
    except CheckError as error:
        raise UncheckedError(str(error)) from None
    raise typer.Exit(exit_code)
