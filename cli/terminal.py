"""Terminal output: results on standard output, remarks and errors on standard error."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rich.table import Table

    from contracts.errors import ServiceError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MethodOrService = Annotated[
    str | None,
    typer.Argument(metavar="METHOD|SERVICE", help='Method, such as "gym.GetGym", or service. Default: all services.'),
]

# Files and pipes have no width, but panels and trees need one.
FILE_WIDTH = 140
# Minimum width of a column that may fold: about three words.
MIN_FOLD_WIDTH = 20

# The terminal wraps long lines, because an id that Rich wraps cannot be searched or copied in one piece.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else FILE_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class CommandError(Failure):
    """Failure of a command; the message gives the reason."""


def print_json(value: object, indent: int | None = 2) -> None:
    """Print a value as JSON; on one line if `indent` is None."""
    sys.stdout.write(json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def print_table(table: Table, *, folds: Collection[str] = ()) -> None:
    """Print a table without truncating any cell, at any width of the terminal.

    Only columns with a heading in `folds` may wrap their text. If the terminal is still too narrow, each row is printed
    as a block with one line per cell, like psql's expanded display.
    """
    widths = [max(map(_width, (column.header, *column.cells))) for column in table.columns]
    min_widths = [
        min(width, MIN_FOLD_WIDTH) if column.header in folds else width
        for column, width in zip(table.columns, widths, strict=True)
    ]
    gaps = 2 * len(widths)
    if out.is_terminal and sum(min_widths) + gaps > out.width:
        _print_blocks(table)
        return
    for column, width in zip(table.columns, widths, strict=True):
        if column.header in folds:
            column.overflow = "fold"
        else:
            column.no_wrap, column.min_width = True, width
    table.width = min(sum(widths) + gaps, out.width) if out.is_terminal else sum(widths) + gaps
    out.print(table, soft_wrap=False, crop=False)


def _print_blocks(table: Table) -> None:
    headings = [column.header for column in table.columns]
    for number, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if number:
            out.print()
        for heading, cell in zip(headings, row, strict=True):
            text = _text(cell)
            if text.plain:
                out.print(Text.assemble(f"{heading}: " if heading else "", text))


def _text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else out.render_str(str(cell))


def _width(cell: object) -> int:
    return max((line.cell_len for line in _text(cell).split()), default=0)


def print_facts(facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print facts as one line per fact, or as JSON."""
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        out.print(f"{name}: {value}", markup=False)


def print_service_error(error: ServiceError) -> None:
    """Print all details of a service error."""
    # Many reasons have the same name as their code. An error from outside the mesh has no reason.
    names = dict.fromkeys(name for name in (error.code.name, error.reason_name()) if name)
    err.print(f"{' '.join(names)}: {error.message}", markup=False, style="red")
    for violation in error.violations:
        err.print(f"  {violation.field}: {violation.description}", markup=False)
    for name, fact in error.metadata.items():
        err.print(f"  {name}: {fact}", markup=False)
    if error.retry_after_s is not None:
        err.print(f"  retry after: {error.retry_after_s:.3f} s", markup=False)
    if error.callee:
        err.print(f"  method: {error.callee}", markup=False)
    if error.correlation_id:
        err.print(f"  correlation id: {error.correlation_id}", markup=False)
