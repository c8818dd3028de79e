"""Parts of calls with JSON: requests, headers, answers and errors, and the stub of any method."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, cast

from google.protobuf import descriptor_pool, json_format

from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

    from contracts.errors import ServiceError
    from contracts.method import Method
    from mesh.serving.channel import Channels


# protobuf's errors repeat the first part for each field on the way to the fault.
_FIELD_WITH_FAULT = re.compile(r"Failed to parse (\w+) field: ")
_UNKNOWN_FIELD = re.compile(r'Message type "[\w.]+" has no field named "(\w+)"')


class InvalidRequestText(Failure):
    """A text is not the JSON form of a request; the message gives the reason.

    `field` is the path of the faulty field with the names of the contract, such as "period.start_time". It is empty if
    the fault is not in a field. `reason` is the fault alone.
    """

    def __init__(self, message: str, field: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.reason = reason


class InvalidHeader(Failure):
    """A text is not a header; the message gives the reason."""


def stub_of(channels: Channels, method: Method, at: str = "") -> object:
    """Return the stub of the service that declares `method`.

    `at` selects the process if every service serves the contract: "session" for OutboxService/ListMessages.
    """
    service = descriptor_pool.Default().FindServiceByName(method.service)
    module = importlib.import_module(f"{service.file.name.removesuffix('.proto').replace('/', '.')}_pb2_grpc")
    return channels.stub(getattr(module, f"{service.name}Stub"), at=at)


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
            f"The request is not a {name}: {reason} `solo60 describe {method.short_name}` shows its fields.",
            _faulty_field(cast("Descriptor", method.request_type.DESCRIPTOR), reason),
            reason,
        ) from None


def _faulty_field(message: Descriptor, reason: str) -> str:
    """Return the path of the field that an error of protobuf is about, or ""."""
    names, at = [], 0
    while found := _FIELD_WITH_FAULT.match(reason, at):
        names.append(found[1])
        at = found.end()
    unknown = _UNKNOWN_FIELD.match(reason, at)
    if unknown:
        names.append(unknown[1])
    return ".".join(_names_in_contract(message, names))


def _names_in_contract(message: Descriptor | None, names: list[str]) -> Iterator[str]:
    for name in names:
        fields: Mapping[str, FieldDescriptor] = (
            {} if message is None else {**message.fields_by_camelcase_name, **message.fields_by_name}
        )
        field = fields.get(name)
        yield name if field is None else field.name
        message = None if field is None else field.message_type


def parse_header(text: str) -> tuple[str, str]:
    """Return the name and the value of a header "name=value"; raise InvalidHeader if `text` is not one."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidHeader(f'"{text}" must have the form name=value.')
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(?<!-bin)", name) or not re.fullmatch(r"[ -~]*", value):
        raise InvalidHeader(
            f'header "{name}" is invalid. The name may contain letters, digits, "-", "_" and ".", and must not end in '
            '"-bin"; the value must be printable ASCII.'
        )
    return name.lower(), value


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
