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
from operations.descriptions import description_of, descriptor_of, errors_of, example_request, summary_of
from operations.field_rules import fields_of, rules_of_message
from operations.method_names import find_by_name, short_method_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.method import Method
from operations.field_rules import FieldRules


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
        table.add_row(short_method_name(method), _shape(method), ", ".join(sorted(method.policy.scopes)), note)
    print_table(table)


def describe(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help='Method, such as "gym.GetGym" or "GymService/GetGym".')
    ],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show the request fields of a method with their rules, and a valid example.

    Also shows the response fields, the required scopes and the method's own errors. `solo60 explain` shows its policy.
    """
    found = find_by_name(method)
    if as_json:
        print_json(description_of(found))
    else:
        _print(found, example_request(found))


def _print(method: Method, example: dict[str, object]) -> None:
    request, response = descriptor_of(method.request_type), descriptor_of(method.response_type)
    out.print(f"[bold]{method.full_name}[/]  {_shape(method)}")
    if method.policy.contract_only:
        out.print("Contract only, not implemented.")
    out.print(f"scopes: {', '.join(sorted(method.policy.scopes)) or 'none'}\n")
    _print_fields(f"Request: {request.name}", list(fields_of(request)), rules=True)
    for rule in rules_of_message(request):
        out.print(f"  {rule}", markup=False)
    _print_fields(f"Response: {response.name}", list(fields_of(response)), rules=False)
    out.print("[bold]Errors[/]" if errors_of(method) else "[bold]Errors: none besides those of the mesh[/]")
    for error in errors_of(method):
        out.print(f"  {error['reason']} ({error['code']}): {error['meaning']}", markup=False)
    out.print("\n[bold]Example[/]")
    out.print(f"solo60 call {short_method_name(method)} {shlex.quote(json.dumps(example))}", markup=False)


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
