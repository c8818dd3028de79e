"""OpenAPI document of the API: the document of the contracts, limited to the methods that the console serves."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse, Response

import solo60
from console.api.codecs import json_bytes
from console.api.requests import key_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from starlette.requests import Request

    from console.state import Console

FILE = "openapi.json"
# In a wheel, the document is beside the generated code. In a checkout, it is in gen/docs.
_PLACES = (FILE, f"../docs/{FILE}")
_SCHEMA = "#/components/schemas/"
NOT_MODIFIED = 304
INTRODUCTION = """\
The methods of the services as JSON over HTTP. The console passes each call on to its service, with the API key of its
caller: send it in the header `x-api-key`, or as a bearer token. The services decide what the key may do.

Requests and responses are protobuf's JSON: names in lowerCamelCase, 64-bit integers and durations as strings, bytes in
base64. A field that is not required may be omitted. The schemas contain the rules of protovalidate.

The protocol is that of Connect, so a client of Connect can call every method, also in the binary form of protobuf. A
method without side effects can be called by GET as well. `Connect-Timeout-Ms` limits the time of a call. Streaming
methods have `x-streaming`: their messages are in envelopes (`application/connect+json`), so "try it" cannot call them.

The commands in each operation call the service directly, over gRPC, at its default port.
"""


class ServedDocument:
    """Document of the methods at `paths`, with its ETag. The file is read at the first use."""

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = frozenset(paths)

    @cached_property
    def content(self) -> bytes:
        """The document as JSON."""
        document = served_document(json.loads(_file().read_bytes()), self._paths)
        return json_bytes(document)

    @cached_property
    def etag(self) -> str:
        """Quoted hash of the document."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    async def respond(self, console: Console, request: Request) -> Response:
        """Answer a request. With CONSOLE_LOGIN, the reader needs a session or a valid key."""
        is_open = not console.settings.console_login or request.state.reader.is_signed_in
        if not is_open and not console.is_valid(key_in(request.headers)):
            return PlainTextResponse("Sign in at /login first, or send an API key in x-api-key.\n", 401)
        headers = {"ETag": self.etag, "Cache-Control": "no-cache"}
        known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
        if known & {self.etag, "*"}:
            return Response(status_code=NOT_MODIFIED, headers=headers)
        return Response(self.content, media_type="application/json", headers=headers)


def served_document(document: dict[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """Return a document with only these paths, at the address of the document itself."""
    items = {path: {"post": item["post"]} for path, item in document["paths"].items() if path in paths}
    tags = {tag for item in items.values() for tag in item["post"]["tags"]}
    components = document["components"]
    return document | {
        "info": document["info"] | {"description": INTRODUCTION},
        "servers": [{"url": "/", "description": "The console, which passes calls on to the services."}],
        "tags": [tag for tag in document["tags"] if tag["name"] in tags],
        "paths": items,
        "components": components | {"schemas": _used(components["schemas"], items)},
    }


def _used(schemas: dict[str, Any], items: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas that the operations need, directly or through others."""
    used: set[str] = set()
    pending = list(_references(items))
    while pending:
        name = pending.pop()
        if name not in used:
            used.add(name)
            pending += _references(schemas[name])
    return {name: schema for name, schema in schemas.items() if name in used}


def _references(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each.removeprefix(_SCHEMA)
            else:
                yield from _references(each)


def _file() -> Path:
    places = [Path(folder) / place for folder in solo60.__path__ for place in _PLACES]
    return next((each for each in places if each.exists()), places[0])
