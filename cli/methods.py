"""`solo60 methods` and `solo60 describe`: the available methods, and the fields and errors of each."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli.service_names import require_service
from cli.terminal import JsonFlag, out, print_json, print_table
from contracts.services import all_methods, short_service_name
from operations.contracts.descriptions import description_of, description_of_other, summary_of
from operations.contracts.documents import document_of_method
from operations.contracts.method_names import UnknownMethod, find_by_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.method import Method
    from operations.contracts.documents import MethodDocument
    from operations.contracts.field_rules import FieldRules


def methods(
    service: Annotated[
        str | None, typer.Argument(metavar="SERVICE", help="Service, such as gym. Default: all.")
    ] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """List the methods of one service, or of all."""
    if service is not None:
        require_service(service)
    found = [each for each in all_methods().values() if service in (None, short_service_name(each.service))]
    if as_json:
        print_json([summary_of(method) for method in found])
        return
    table = Table("method", "shape", "scopes", "", box=None, pad_edge=False)
    for method in found:
        note = "contract only, not implemented" if method.policy.contract_only else ""
        table.add_row(method.short_name, _shape(method), ", ".join(sorted(method.policy.scopes)), note)
    print_table(table)


def describe(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help='Method, such as "gym.GetGym"; or message, event, enum or error, such as "gym.Gym".'
        ),
    ],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show the request fields of a method with their rules, and a valid example.

    Also shows the response fields, the required scopes and the method's own errors. `solo60 explain` shows its policy.
    With another name, shows a message, an event, an enum or an error. `solo60 contracts find` lists all names.
    """
    try:
        found = find_by_name(name)
    except UnknownMethod:
        other = description_of_other(name)
        if other is None:
            raise
        print_json(other) if as_json else _print_other(other)
        return
    if as_json:
        print_json(description_of(found))
    else:
        _print(document_of_method(found))


def _print(document: MethodDocument) -> None:
    method = document.method
    out.print(f"[bold]{method.full_name}[/]  {_shape(method)}")
    if method.policy.contract_only:
        out.print("Contract only, not implemented.")
    out.print(document.comment, markup=False)
    out.print(f"scopes: {', '.join(sorted(method.policy.scopes)) or 'none'}\n")
    _print_fields(f"Request: {method.request_type.DESCRIPTOR.name}", document.request, rules=True)
    for rule in document.request_rules:
        out.print(f"  {rule}", markup=False)
    _print_fields(f"Response: {method.response_type.DESCRIPTOR.name}", document.response, rules=False)
    out.print("[bold]Errors[/]" if document.errors else "[bold]Errors: none besides those of the mesh[/]")
    for error in document.errors:
        out.print(f"  {error.reason} ({error.code}): {error.meaning}", markup=False)
    out.print("\n[bold]Example[/]")
    example = shlex.quote(json.dumps(document.example))
    out.print(f"solo60 call {method.short_name} {example}", markup=False)


def _print_other(described: dict[str, object]) -> None:
    """Print one line per value, and one per item of a list."""
    for name, value in described.items():
        if isinstance(value, list | tuple):
            out.print(f"{name}:" if value else f"{name}: none", markup=False)
            for each in value:
                out.print(f"  {_line(each)}", markup=False)
        elif value != "":
            out.print(f"{name}: {value if value is not None else 'every method'}", markup=False)


def _line(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    texts = ("; ".join(each) if isinstance(each, list | tuple) else str(each) for each in value.values() if each)
    return "  ".join(texts)


def _print_fields(title: str, fields: Sequence[FieldRules], *, rules: bool) -> None:
    out.print(Text(title if fields else f"{title} (no fields)", style="bold"))
    if fields:
        table = Table("field", "type", *(["rules"] if rules else []), box=None, pad_edge=False)
        for each in fields:
            table.add_row(each.path, each.type, *([Text("; ".join(each.rules))] if rules else []))
        print_table(table, folds=("rules",))
    out.print()


def _shape(method: Method) -> str:
    asked = "stream" if method.request_streaming else "one request"
    return f"{asked}, {'stream' if method.response_streaming else 'one response'}"
