"""Descriptions of methods: fields with rules, an example, and errors with their meanings."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from google.protobuf import json_format

from contracts.errors import ServiceError
from contracts.example_messages import example_of
from contracts.service_error import FIRST_DOMAIN_REASON, PREFIX
from operations.field_rules import fields_of, rules_of_message
from operations.method_names import short_method_name
from solo60.common.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from contracts.method import Method


def summary_of(method: Method) -> dict[str, object]:
    """Return the names, the shape and the scopes of a method."""
    return {
        "method": method.full_name,
        "name": short_method_name(method),
        "request_streaming": method.request_streaming,
        "response_streaming": method.response_streaming,
        "scopes": sorted(method.policy.scopes),
        "contract_only": method.policy.contract_only,
    }


def description_of(method: Method) -> dict[str, object]:
    """Return the summary of a method, its request and response with all fields, and the errors that it declares."""
    request, response = descriptor_of(method.request_type), descriptor_of(method.response_type)
    return {
        **summary_of(method),
        "request": {
            "type": request.full_name,
            "fields": [{"path": each.path, "type": each.type, "rules": each.rules} for each in fields_of(request)],
            "rules": rules_of_message(request),
            "example": example_request(method),
        },
        "response": {
            "type": response.full_name,
            "fields": [{"path": each.path, "type": each.type} for each in fields_of(response)],
        },
        "errors": errors_of(method),
    }


def example_request(method: Method) -> dict[str, object]:
    """Return a valid request of a method, by the names of its fields."""
    example: dict[str, object] = json_format.MessageToDict(
        example_of(method.request_type), preserving_proto_field_name=True
    )
    return example


def errors_of(method: Method) -> list[dict[str, str]]:
    """Return the errors declared by the method, without those of the mesh, which any method may return."""
    names = (
        ErrorReason.Name(each).removeprefix(PREFIX) for each in method.policy.errors if each >= FIRST_DOMAIN_REASON
    )
    classes = [ServiceError.by_reason[name] for name in sorted(names)]
    return [{"reason": each.reason_name(), "code": each.code.name, "meaning": each.__doc__ or ""} for each in classes]


def descriptor_of(message_type: type[Message]) -> Descriptor:
    """Return the descriptor of a message type, which protobuf's own types lack."""
    return cast("Descriptor", message_type.DESCRIPTOR)
