"""Errors of the API, in the JSON of the Connect protocol."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import grpc
from google.protobuf import json_format

from contracts.errors import MessageTooLarge, Unimplemented
from contracts.status import status_of_error
from mesh.serving.http_requests import CONTENT_TOO_LARGE, HTTP_STATUS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.any_pb2 import Any

    from contracts.errors import ServiceError


class NotServed(Unimplemented):
    """Request that HTTP itself rejects, such as one for an unknown path, with its status and headers."""

    def __init__(self, message: str, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


def http_status_of(error: ServiceError) -> int:
    """Return the HTTP status of an error: the status of its code in the Connect protocol, or a more exact one."""
    if isinstance(error, NotServed):
        return error.status
    return CONTENT_TOO_LARGE if isinstance(error, MessageTooLarge) else HTTP_STATUS.get(error.code, 500)


def error_as_json(error: ServiceError, correlation_id: str) -> dict[str, object]:
    """Return an error as the Connect protocol has it. Each detail has its binary form and, for readers, its JSON."""
    details = status_of_error(error, correlation_id).details
    return {"code": _code_of(error), "message": error.message, "details": [_detail_as_json(each) for each in details]}


def _code_of(error: ServiceError) -> str:
    # The Connect protocol spells this code with one "l".
    return "canceled" if error.code is grpc.StatusCode.CANCELLED else error.code.name.lower()


def _detail_as_json(detail: Any) -> dict[str, object]:
    debug = json_format.MessageToDict(detail)
    debug.pop("@type")
    return {"type": detail.TypeName(), "value": b64encode(detail.value).rstrip(b"=").decode(), "debug": debug}
