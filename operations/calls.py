"""Calls of any method with JSON, for people and programs outside the mesh."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import grpc.aio
from google.protobuf import json_format

from contracts.errors import ServiceError
from interceptors.deadline.ledger import read_ledger
from mesh.failure import Failure
from operations.method_names import short_method_name

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.chain.untyped import AnyCall
    from interceptors.deadline.ledger import Hop
    from mesh.serving.channel import Channels


class InvalidRequestText(Failure):
    """A text is not the JSON form of a request; the message gives the reason."""


def stub_of(channels: Channels, method: Method) -> object:
    """Return the stub of the service that declares `method`."""
    package, _, service = method.service.rpartition(".")
    name = package.split(".")[1]
    module = importlib.import_module(f"{package}.{name}_pb2_grpc")
    return channels.stub(getattr(module, f"{service}Stub"))


def parse_request(method: Method, text: str) -> Message:
    """Return the request of `method` from its JSON form; raise InvalidRequestText if `text` is not one."""
    name = method.request_type.DESCRIPTOR.name
    if not text.lstrip().startswith("{"):
        raise InvalidRequestText(f"The request is not a {name}: it must be a JSON object.")
    try:
        return json_format.Parse(text, method.request_type())
    except json_format.ParseError as error:
        reason = str(error).partition("\n")[0]
        raise InvalidRequestText(
            f"The request is not a {name}: {reason} `solo60 describe {short_method_name(method)}` shows its fields."
        ) from None


async def ledger_of(rpc: AnyCall) -> list[Hop]:
    """Return the time that each service spent on a finished call, from the deadline ledger in its trailing metadata."""
    try:
        trailing = await rpc.trailing_metadata()
    except ServiceError as error:
        cause = error.__cause__
        trailing = cause.trailing_metadata() if isinstance(cause, grpc.aio.AioRpcError) else None
    return list(read_ledger(trailing))


def message_as_dict(message: Message) -> dict[str, object]:
    """Return all fields of a message by their names in the contract."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def service_error_as_json(error: ServiceError) -> dict[str, object]:
    """Return all details of a service error as a JSON object."""
    return {
        "code": error.code.name,
        "reason": error.reason_name(),
        "message": error.message,
        "violations": [{"field": each.field, "description": each.description} for each in error.violations],
        "metadata": error.metadata,
        "retry_after_s": error.retry_after_s,
        "callee": error.callee,
        "correlation_id": error.correlation_id,
    }
