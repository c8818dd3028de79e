"""`solo60 explain`: the effective policy of a method, and the source of each value."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from cli.explanation import Fact, explain
from cli.method_names import find_by_name
from cli.terminal import JsonFlag, out, print_json, print_table
from mesh.config import load_settings


def explain_method(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help='Method, such as "gym.GetGym" or "GymService/GetGym".')
    ],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show each effective policy value of a method and its source: contract, default or setting."""
    found = find_by_name(method)
    facts = explain(found, load_settings())
    if as_json:
        print_json({"method": found.full_name, "policy": [asdict(fact) for fact in facts]})
    else:
        out.print(found.full_name, style="bold")
        print_table(_table(facts), folds=("value",))


def _table(facts: list[Fact]) -> Table:
    table = Table("policy", "value", "source", box=None, pad_edge=False)
    for fact in facts:
        table.add_row(fact.name, fact.value, f"[dim]{fact.source}[/]")
    return table
