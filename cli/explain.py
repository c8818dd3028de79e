"""`solo60 explain`: the effective policy of a method, its callers and callees, worst case and service config."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cli.terminal import JsonFlag, out, print_json, print_table
from contracts.durations import duration_text
from contracts.names import short_name
from mesh.config import load_settings
from operations.contracts.chains import chains_of
from operations.contracts.connections import HTTP_ENDPOINT, callees_of, callers_of, graph_of_services, service_config_of
from operations.contracts.explanation import EDGES, NONE, Fact, explain
from operations.contracts.method_names import find_by_name
from operations.contracts.method_report import report_of
from operations.contracts.worst_case import worst_case_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from contracts.method import Method
    from operations.contracts.chains import Chains
    from operations.contracts.connections import Callee, Caller
    from operations.contracts.worst_case import WorstCase


def explain_method(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help='Method, such as "gym.GetGym" or "GymService/GetGym".')
    ],
    *,
    chain: Annotated[
        bool, typer.Option("--chain", help="Show the interceptors on both sides of its calls instead.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show each effective policy value of a method and its source: contract, default or setting.

    Also shows the callers and callees of the method, its worst case, and its gRPC service config.
    """
    found, settings = find_by_name(method), load_settings()
    if chain:
        _show_chains(found, chains_of(found, settings), as_json=as_json)
        return
    if as_json:
        print_json(report_of(found, settings))
        return
    facts, graph = explain(found, settings), graph_of_services(settings.deadline_factor)
    callers, callees, config = callers_of(found, graph), callees_of(found, graph), service_config_of(found)
    worst = worst_case_of(found)
    out.print(found.full_name, style="bold")
    print_table(_policy([fact for fact in facts if fact.name not in EDGES]), folds=("value",))
    _print_section("Callers", _callers(callers) if callers else "none in the contracts")
    _print_section("Callees", _callees(callees) if callees else "none")
    _print_section("Longest time by the contract", _longest(worst))
    _print_section("Most attempts by the contract", _most_attempts(worst))
    _print_section("Service config", "\n".join(_outline(config)))


def _show_chains(method: Method, chains: Chains, *, as_json: bool) -> None:
    if as_json:
        print_json({"method": method.full_name, **asdict(chains)})
        return
    out.print(method.full_name, style="bold")
    for heading, parts in (("Client, outermost first", chains.client), ("Server, outermost first", chains.server)):
        table = _table("interceptor", "acts", "purpose")
        for part in parts:
            if part.acts:
                table.add_row(part.interceptor, ", ".join(part.acts), part.purpose)
        out.print(f"\n[bold]{heading}[/]")
        print_table(table, folds=("purpose",))
        idle = [part.interceptor for part in parts if not part.acts]
        if idle:
            out.print(f"Not for this method: {', '.join(idle)}.")


def _policy(facts: list[Fact]) -> Table:
    table = _table("policy", "value", "source")
    for fact in facts:
        table.add_row(fact.name, fact.value, f"[dim]{fact.source}[/]")
    return table


def _callers(callers: list[Caller]) -> Table:
    table = _table("caller", "declared by")
    for each in callers:
        table.add_row(each.name if each.name == HTTP_ENDPOINT else short_name(each.name), each.kind)
    return table


def _callees(callees: list[Callee]) -> Table:
    table = _table("callee", "declared by", "deadline")
    for each in callees:
        table.add_row(short_name(each.name), each.kind, duration_text(each.deadline_s) if each.deadline_s else "none")
    return table


def _longest(worst: WorstCase) -> Table:
    table = _table("step", "time")
    table.add_row("own work", duration_text(worst.own_work_s))
    for step in worst.steps:
        at_once = " at the same time" if len(step.methods) > 1 else ""
        table.add_row(", ".join(map(short_name, step.methods)) + at_once, duration_text(step.deadline_s))
    table.add_row("total", duration_text(worst.time_s))
    return table


def _most_attempts(worst: WorstCase) -> Table:
    table = _table("method", "attempts")
    for hop in worst.chain:
        table.add_row(short_name(hop.method), str(hop.max_attempts))
    table.add_row("product", str(worst.attempts))
    return table


def _table(*headings: str) -> Table:
    return Table(*headings, box=None, pad_edge=False)


def _outline(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a line for each key of a JSON object, and below it those of the objects in its value."""
    for key, inner in value.items():
        items = inner if isinstance(inner, list) else [inner]
        objects = [item for item in items if isinstance(item, dict)]
        scalars = ", ".join(str(item) for item in items if not isinstance(item, dict))
        yield f"{indent}{key}{'' if objects else f': {scalars or NONE}'}"
        for each in objects:
            yield from _outline(each, f"{indent}  ")


def _print_section(heading: str, content: Table | str) -> None:
    out.print(f"\n[bold]{heading}[/]")
    if isinstance(content, str):
        out.print(content, markup=False)
    else:
        print_table(content, folds=("step",))
