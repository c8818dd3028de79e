"""HTTP requests of the API: method, form of the messages, key, timeout and body, according to the Connect protocol."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import QueryParams

from console.api.codecs import BY_NAME, MAX_REQUEST_BYTES, STREAMING, UNARY, decompressed, only_message_in, too_large
from console.api.errors import NotServed
from contracts.errors import Cancelled, IdempotencyKeyMissing, InvalidRequest
from contracts.metadata import API_KEY, IDEMPOTENCY_KEY
from interceptors.propagation import USER_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message
    from starlette.datastructures import Headers
    from starlette.types import Receive, Scope

    from console.api.codecs import Codec
    from contracts.method import Method

PROTOCOL_VERSION = "1"
# Headers of the request that become metadata of the call. The correlation id and the trace do so by themselves.
PASSED_ON = (IDEMPOTENCY_KEY, USER_ID)
NOT_FOUND, METHOD_NOT_ALLOWED, UNSUPPORTED_MEDIA_TYPE = 404, 405, 415
_TIMEOUT_FORM = re.compile("[0-9]{1,10}")
_BEARER = "bearer "
# Beside the message, the body of a stream has one envelope.
_MAX_BODY_BYTES = MAX_REQUEST_BYTES + 16


@dataclass(frozen=True, slots=True)
class Form:
    """Form of a call's messages: the codec, the media type of the response, and the compression of the request."""

    codec: Codec
    media_type: str
    encoding: str


def media_type_of(headers: Headers) -> str:
    """Return the media type of a request without parameters, such as "application/json"."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def key_in(headers: Headers) -> str:
    """Return the API key in `x-api-key`, or in `Authorization: Bearer`, or ""."""
    key = headers.get(API_KEY)
    if key is None:
        authorization = headers.get("authorization", "")
        key = authorization[len(_BEARER) :] if authorization.lower().startswith(_BEARER) else ""
    return key.strip()


def form_of_post(method: Method, headers: Headers) -> Form:
    """Return the form of a call by POST; raise NotServed for a media type that the method does not have."""
    _require_version(headers.get("connect-protocol-version", PROTOCOL_VERSION), PROTOCOL_VERSION)
    media_type = media_type_of(headers)
    codecs = STREAMING if method.response_streaming else UNARY
    if media_type not in codecs:
        accepted = ", ".join(codecs)
        raise NotServed(
            f"Content-Type: {method.full_name} accepts {accepted}.", UNSUPPORTED_MEDIA_TYPE, {"Accept-Post": accepted}
        )
    prefix = "connect-" if method.response_streaming else ""
    return Form(codecs[media_type], media_type, headers.get(f"{prefix}content-encoding", ""))


def form_of_get(query: Mapping[str, str]) -> Form:
    """Return the form of a call by GET; raise NotServed for an unknown `encoding`."""
    _require_version(query.get("connect", f"v{PROTOCOL_VERSION}"), f"v{PROTOCOL_VERSION}")
    name = query.get("encoding", "")
    if name not in BY_NAME:
        raise NotServed(f"encoding: send one of {', '.join(BY_NAME)}.", UNSUPPORTED_MEDIA_TYPE)
    return Form(BY_NAME[name], f"application/{name}", query.get("compression", ""))


def query_of(scope: Scope) -> Mapping[str, str]:
    """Return the parameters of a request."""
    return QueryParams(scope["query_string"])


def message_in_query(method: Method, query: Mapping[str, str], form: Form) -> Message:
    """Return the request in the parameter `message`; raise InvalidRequest if it is not one."""
    if "message" not in query:
        raise InvalidRequest("message: the request is missing in the query.")
    text = query["message"]
    try:
        data = b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True) if query.get("base64") == "1" else None
    except (binascii.Error, ValueError):
        raise InvalidRequest("message: the request is not base64url.") from None
    data = text.encode() if data is None else data
    return form.codec.parse(method, decompressed(data, form.encoding))


async def message_in_body(method: Method, headers: Headers, receive: Receive, form: Form) -> Message:
    """Return the request in the body. Raises InvalidRequest, MessageTooLarge, or Cancelled if the client leaves."""
    body = await _body(headers, receive)
    unpack = only_message_in if method.response_streaming else decompressed
    data = unpack(body, form.encoding)
    if len(data) > MAX_REQUEST_BYTES:
        raise too_large()
    return form.codec.parse(method, data)


async def _body(headers: Headers, receive: Receive) -> bytes:
    if int(headers.get("content-length", "0")) > _MAX_BODY_BYTES:
        raise too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Cancelled
        body += message.get("body", b"")
        if len(body) > _MAX_BODY_BYTES:
            raise too_large()
        if not message.get("more_body"):
            return bytes(body)


def timeout_s_of(headers: Headers) -> float | None:
    """Return the time that the caller allows, or None; raise InvalidRequest for a malformed header."""
    text = headers.get("connect-timeout-ms")
    if text is None:
        return None
    if not _TIMEOUT_FORM.fullmatch(text):
        raise InvalidRequest("Connect-Timeout-Ms: send a number of milliseconds with at most 10 digits.")
    return int(text) / 1000


def metadata_of(method: Method, headers: Headers) -> list[tuple[str, str]]:
    """Return the headers that are passed on to the service.

    Raises InvalidRequest for a header that gRPC cannot send, and IdempotencyKeyMissing if the method requires a key: a
    key of the console would differ in a repeated call.
    """
    found = [(name, headers[name]) for name in PASSED_ON if headers.get(name)]
    if method.policy.idempotency_key_required and not headers.get(IDEMPOTENCY_KEY):
        raise IdempotencyKeyMissing(
            f"{method.full_name} requires the header {IDEMPOTENCY_KEY} with 1 to 255 visible ASCII characters."
        )
    for name, value in found:
        if not (value.isascii() and value.isprintable()):
            raise InvalidRequest(f"{name}: send printable ASCII characters.")
    return found


def _require_version(version: str, supported: str) -> None:
    if version != supported:
        raise InvalidRequest(f'The version of the Connect protocol must be "{supported}".')
