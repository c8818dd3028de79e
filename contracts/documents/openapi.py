"""OpenAPI 3.1 document about the methods of a catalog, as protobuf's JSON over HTTP (Connect)."""

from __future__ import annotations

import json
import re
from itertools import takewhile
from typing import TYPE_CHECKING

from contracts.documents.catalog import POLICY
from contracts.documents.error_schema import ERROR, ERROR_SCHEMA
from contracts.documents.field_schema import reference
from contracts.documents.markdown_text import code, code_block, table, without_html
from contracts.documents.message_schema import MessageSchemas
from contracts.documents.policy_table import policy_as_json, policy_rows, reasons_of
from contracts.image import name_of
from contracts.metadata import API_KEY, IDEMPOTENCY_KEY
from contracts.names import is_version

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor

    from contracts.documents.catalog import Catalog
    from contracts.documents.commands import Commands
    from contracts.documents.json_schema import Schema
    from contracts.field_value import FieldValue

SECURITY_SCHEME = "apiKey"
ROOT = POLICY.partition(".")[0]
_NOT_ASCII = re.compile(r"[^\n -~]")
POLICY_EXTENSION = f"x-{ROOT}-{POLICY.rpartition('.')[2]}"
ANY_ADDRESS = "127.0.0.1:50051"
INTRODUCTION = """\
The services speak gRPC, not plain HTTP. This document describes each method as JSON over HTTP, by the Connect protocol:
for a transcoder in front of the services, for code generators, and for tools that read OpenAPI. The commands in each
operation call the method over gRPC.

The JSON is that of protobuf: names in lowerCamelCase, 64-bit integers and durations as strings, bytes in base64. A
field that is not required may be omitted. The schemas contain the rules of protovalidate. A rule that JSON Schema
cannot express is in a description.

Streaming methods have `x-streaming`. Their bodies are sequences of messages, each in an envelope of the Connect
protocol (`application/connect+json`), so a plain JSON client cannot call them. Each schema is that of one message.
"""


class OpenApi:
    """OpenAPI document of a catalog."""

    def __init__(self, catalog: Catalog, commands: Commands) -> None:
        self._catalog = catalog
        self._commands = commands

    def text(self) -> str:
        """Return the document as JSON."""
        written = json.dumps(_without_html(self.document()), ensure_ascii=False, indent=2)
        return _NOT_ASCII.sub(_visible, written) + "\n"

    def document(self) -> Schema:
        """Return the document."""
        services = [each.descriptor for each in self._catalog.services]
        return {
            "openapi": "3.1.0",
            "info": {"title": self._title(services), "version": _version(services), "description": INTRODUCTION},
            "servers": [_server("http://{address}", "Server of the called service.") | _ADDRESS],
            "security": [{SECURITY_SCHEME: []}],
            "tags": [self._tag(service) for service in services],
            "paths": {f"/{name_of(method)}": self._path(method) for method in self._catalog.methods()},
            "components": {
                "schemas": self._schemas(),
                "securitySchemes": {SECURITY_SCHEME: _API_KEY},
            },
        }

    def _title(self, services: list[ServiceDescriptor]) -> str:
        packages = [service.file.package.split(".") for service in services]
        shared = [parts[0] for parts in takewhile(_are_equal, zip(*packages, strict=False))]
        return f"Methods of {'.'.join(shared) or 'several packages'}"

    def _tag(self, service: ServiceDescriptor) -> Schema:
        return {"name": service.full_name, "description": self._catalog.comment_of(service)}

    def _schemas(self) -> dict[str, Schema]:
        roots: list[Descriptor] = []
        for method in self._catalog.methods():
            roots += [method.input_type, method.output_type]
        return dict(sorted((MessageSchemas(self._catalog).components(roots) | {ERROR: ERROR_SCHEMA}).items()))

    def _path(self, method: MethodDescriptor) -> Schema:
        port = self._catalog.port_of(method.containing_service)
        description = "In a local mesh." if port else ""
        servers = {"servers": [_server(f"http://127.0.0.1:{port}", description)]} if port else {}
        return servers | {"post": self._operation(method)}

    def _operation(self, method: MethodDescriptor) -> Schema:
        policy = policy_as_json(self._catalog, method)
        operation: Schema = {
            "tags": [method.containing_service.full_name],
            "operationId": name_of(method).replace("/", "."),
            "summary": f"{method.containing_service.name}/{method.name}",
            "description": self._description(method),
        }
        if policy is not None and policy.get("scopes"):
            operation["security"] = [{SECURITY_SCHEME: policy["scopes"]}]
        if method.GetOptions().deprecated or (policy is not None and "deprecation" in policy):
            operation["deprecated"] = True
        if self._commands.needs_key(method):
            operation["parameters"] = [_IDEMPOTENCY_KEY]
        operation["requestBody"] = {"required": True, "content": self._request(method)}
        operation["responses"] = {"200": self._response(method), "default": self._errors(method)}
        streaming = streaming_of(method)
        if streaming:
            operation["x-streaming"] = streaming
        if policy is not None:
            operation[POLICY_EXTENSION] = policy
        return operation

    def _request(self, method: MethodDescriptor) -> Schema:
        body = {
            "schema": reference(method.input_type.full_name),
            "example": self._commands.example_as_json(method),
        }
        return {_media_type(method): body}

    def _response(self, method: MethodDescriptor) -> Schema:
        return {
            "description": self._catalog.comment_of(method.output_type) or "The response.",
            "content": {_media_type(method): {"schema": reference(method.output_type.full_name)}},
        }

    def _errors(self, method: MethodDescriptor) -> Schema:
        rows = [(code(reason.name), reason.code, reason.meaning) for reason in reasons_of(self._catalog, method)]
        declared = f"\n\n{table(('reason', 'status code', 'meaning'), rows)}" if rows else ""
        return {
            "description": f"The call failed.{' Reasons that the method declares:' if rows else ''}{declared}",
            "content": {"application/json": {"schema": reference(ERROR)}},
        }

    def _description(self, method: MethodDescriptor) -> str:
        parts = [self._catalog.comment_of(method), streaming_in_words(method)]
        rows = policy_rows(self._catalog, method, code)
        if rows:
            parts.append(table(("policy", "value"), [(row.name, row.value) for row in rows]))
        parts += [code_block(self._commands.shell(method), "sh"), code_block(self._commands.python(method), "python")]
        return "\n\n".join(filter(None, parts))


def streaming_of(method: MethodDescriptor) -> str:
    """Return "client", "server" or "bidirectional", or an empty text for a unary method."""
    if method.client_streaming:
        return "bidirectional" if method.server_streaming else "client"
    return "server" if method.server_streaming else ""


def streaming_in_words(method: MethodDescriptor) -> str:
    """Return a sentence about the streams of a method, or an empty text for a unary method."""
    return {
        "client": "**Client streaming:** the caller sends any number of requests and gets one response.",
        "server": "**Server streaming:** the caller sends one request and gets any number of responses.",
        "bidirectional": "**Bidirectional streaming:** both sides send any number of messages, in any order.",
    }.get(streaming_of(method), "")


def _are_equal(parts: tuple[str, ...]) -> bool:
    return len(set(parts)) == 1


def _media_type(method: MethodDescriptor) -> str:
    return "application/connect+json" if streaming_of(method) else "application/json"


def _server(url: str, description: str) -> Schema:
    return {"url": url, "description": description}


def _version(services: list[ServiceDescriptor]) -> str:
    versions = {service.file.package.rpartition(".")[2] for service in services}
    return ", ".join(sorted(filter(is_version, versions))) or "1"


def _without_html(value: FieldValue) -> FieldValue:
    """Return a part of the document without HTML in its descriptions, which are Markdown."""
    if isinstance(value, list):
        return [_without_html(each) for each in value]
    if not isinstance(value, dict):
        return value
    is_text = {name: name == "description" and isinstance(each, str) for name, each in value.items()}
    return {name: without_html(each) if is_text[name] else _without_html(each) for name, each in value.items()}


def _visible(found: re.Match[str]) -> str:
    """Return a character, or its escape if it is invisible."""
    character = found[0]
    if character.isprintable():
        return character
    encoded = character.encode("utf-16-be").hex()
    return "".join(f"\\u{encoded[at : at + 4]}" for at in range(0, len(encoded), 4))


_ADDRESS: Schema = {"variables": {"address": {"default": ANY_ADDRESS, "description": "Host and port."}}}
_API_KEY: Schema = {
    "type": "apiKey",
    "in": "header",
    "name": API_KEY,
    "description": "API key of the calling service. The key must have the scopes of the operation.",
}
_IDEMPOTENCY_KEY: Schema = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "required": True,
    "description": "One key for each logical call, also in its repeats. A repeated call gets the first response.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
