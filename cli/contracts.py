"""`solo60 contracts`: checks of the contracts in the current folder."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from contracts.diff.command import main_diff

contracts = typer.Typer(help="Check the contracts of the current folder.", no_args_is_help=True)
contracts.callback()(lambda: None)


class Format(StrEnum):
    """Format of a report."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


@contracts.command()
def diff(
    revision: Annotated[str, typer.Argument(metavar="REF", help="Git revision to compare with, such as main.")],
    *,
    format_: Annotated[Format, typer.Option("--format", help="Format of the report.")] = Format.TEXT,
) -> None:
    """Show changes that break callers and that `buf breaking` does not see, with the callers that each one hits.

    Exits with 1 if there is a breaking change that `pyproject.toml` does not allow, and with 2 if the contracts of
    either version cannot be read.
    """
    raise typer.Exit(main_diff([f"--format={format_}", "--", revision]))
