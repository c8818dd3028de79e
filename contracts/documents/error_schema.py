"""JSON Schema of an error of the Connect protocol, for the responses in an OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contracts.documents.json_schema import Schema

# Name of the schema among the components.
ERROR = "connect.error"
ERROR_SCHEMA: Schema = {
    "type": "object",
    "description": "Error of a call, in the form of the Connect protocol. The reason is in the google.rpc.ErrorInfo.",
    "properties": {
        "code": {
            "type": "string",
            "description": "Status code of gRPC, in lower case.",
            "enum": [
                "canceled",
                "unknown",
                "invalid_argument",
                "deadline_exceeded",
                "not_found",
                "already_exists",
                "permission_denied",
                "resource_exhausted",
                "failed_precondition",
                "aborted",
                "out_of_range",
                "unimplemented",
                "internal",
                "unavailable",
                "data_loss",
                "unauthenticated",
            ],
        },
        "message": {"type": "string", "description": "Message for the engineer of the caller."},
        "details": {
            "type": "array",
            "description": "Messages such as google.rpc.ErrorInfo, google.rpc.BadRequest and google.rpc.RetryInfo.",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "description": "Full name of the message."},
                    "value": {"type": "string", "description": "Message in the binary form of protobuf, in base64."},
                    "debug": {
                        "type": "object",
                        "description": "The same message as JSON, for people.",
                        "additionalProperties": True,
                    },
                },
                "required": ["type", "value"],
            },
        },
    },
    "required": ["code"],
}
