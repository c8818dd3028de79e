"""`solo60 methods` and `solo60 describe`: the available methods, and the fields and errors of each."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated, cast

import typer
from google.protobuf import json_format
from rich.table import Table
from rich.text import Text

from cli.service_names import require_service
from cli.terminal import JsonFlag, out, print_json, print_table
from contracts.errors import ServiceError
from contracts.example_messages import example_of
from contracts.service_error import FIRST_DOMAIN_REASON, PREFIX
from contracts.services import all_methods, short_service_name
from operations.field_rules import fields_of, rules_of_message
from operations.method_names import find_by_name, short_method_name
from solo60.common.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

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
        print_json([_summary(method) for method in found])
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
    example = json_format.MessageToDict(example_of(found.request_type), preserving_proto_field_name=True)
    if as_json:
        print_json(_description(found, example))
    else:
        _print(found, example)


def _description(method: Method, example: dict[str, object]) -> dict[str, object]:
    request, response = _descriptor_of(method.request_type), _descriptor_of(method.response_type)
    return {
        **_summary(method),
        "request": {
            "type": request.full_name,
            "fields": [{"path": each.path, "type": each.type, "rules": each.rules} for each in fields_of(request)],
            "rules": rules_of_message(request),
            "example": example,
        },
        "response": {
            "type": response.full_name,
            "fields": [{"path": each.path, "type": each.type} for each in fields_of(response)],
        },
        "errors": _errors(method),
    }


def _print(method: Method, example: dict[str, object]) -> None:
    request, response = _descriptor_of(method.request_type), _descriptor_of(method.response_type)
    out.print(f"[bold]{method.full_name}[/]  {_shape(method)}")
    if method.policy.contract_only:
        out.print("Contract only, not implemented.")
    out.print(f"scopes: {', '.join(sorted(method.policy.scopes)) or 'none'}\n")
    _print_fields(f"Request: {request.name}", list(fields_of(request)), rules=True)
    for rule in rules_of_message(request):
        out.print(f"  {rule}", markup=False)
    _print_fields(f"Response: {response.name}", list(fields_of(response)), rules=False)
    out.print("[bold]Errors[/]" if _errors(method) else "[bold]Errors: none besides those of the mesh[/]")
    for error in _errors(method):
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


def _descriptor_of(message_type: type[Message]) -> Descriptor:
    return cast("Descriptor", message_type.DESCRIPTOR)


def _summary(method: Method) -> dict[str, object]:
    return {
        "method": method.full_name,
        "name": short_method_name(method),
        "request_streaming": method.request_streaming,
        "response_streaming": method.response_streaming,
        "scopes": sorted(method.policy.scopes),
        "contract_only": method.policy.contract_only,
    }


def _shape(method: Method) -> str:
    asked = "stream" if method.request_streaming else "one request"
    return f"{asked}, {'stream' if method.response_streaming else 'one response'}"


def _errors(method: Method) -> list[dict[str, str]]:
    """Return the errors declared by the method, without those of the mesh, which any method may return."""
    names = (
        ErrorReason.Name(each).removeprefix(PREFIX) for each in method.policy.errors if each >= FIRST_DOMAIN_REASON
    )
    classes = [ServiceError.by_reason[name] for name in sorted(names)]
    return [{"reason": each.reason_name(), "code": each.code.name, "meaning": each.__doc__ or ""} for each in classes]
