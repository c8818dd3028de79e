"""`solo60 contracts`: checks and comparisons of the contracts of a folder, and a search in those of this mesh."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

import contracts.checks.command
import contracts.diff.command
from cli.terminal import JsonFlag, print_json, print_table
from contracts.failure import FAILURES, sentence_of
from contracts.output import Format
from mesh.failure import BadSettings
from operations.contracts.catalog import Kind, search

if TYPE_CHECKING:
    from collections.abc import Iterator

group = typer.Typer(
    help="Check contracts, compare them with an earlier version, and search them.", no_args_is_help=True
)
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


@group.command()
def find(
    words: Annotated[list[str] | None, typer.Argument(metavar="WORDS", help="Words of names and comments.")] = None,
    *,
    kind: Annotated[Kind | None, typer.Option(help="Only entries of this kind.")] = None,
    service: Annotated[str, typer.Option(metavar="SERVICE", help='Only entries of one service, or of "errors".')] = "",
    as_json: JsonFlag = False,
) -> None:
    """List methods, events, messages, enums and error reasons of this mesh. `solo60 describe` shows one of them."""
    found = search(" ".join(words or ()), kind.value if kind else "", service)
    if as_json:
        print_json([{"kind": each.kind.value, "name": each.name, "summary": each.summary} for each in found])
        return
    table = Table("name", "kind", "meaning", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.title, each.kind.value, Text(each.summary))
    print_table(table, folds=("meaning",))


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        raise
    except FAILURES as error:
        raise UnreadableContracts(sentence_of(error)) from None
