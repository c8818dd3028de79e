"""Codecs of the API: messages as JSON or as binary protobuf, alone or in envelopes, and compressed requests."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from contracts.errors import InvalidRequest, MessageTooLarge, Unimplemented, Violation
from operations.calls.requests import InvalidRequestText, parse_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from contracts.method import Method

# The largest request, compressed or not. The services have the same limit for a message of gRPC.
MAX_REQUEST_BYTES = 1024 * 1024
GZIP = "gzip"
IDENTITY = "identity"
COMPRESSED, END_OF_STREAM = 1, 2
_ENVELOPE = struct.Struct(">BI")
# zlib reads the header of gzip with this number.
_GZIP_WINDOW = 31


@dataclass(frozen=True, slots=True)
class Codec:
    """Form of messages. `parse` raises InvalidRequest for bytes that are not a request of the method."""

    parse: Callable[[Method, bytes], Message]
    serialize: Callable[[Message], bytes]


def json_bytes(value: object) -> bytes:
    """Return a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def decompressed(data: bytes, encoding: str) -> bytes:
    """Return the original of compressed data. Raises Unimplemented, InvalidRequest or MessageTooLarge."""
    if encoding not in (GZIP, IDENTITY, ""):
        raise Unimplemented(f"The compression {encoding} is not supported: send {GZIP} or {IDENTITY}.")
    if encoding != GZIP or not data:
        return data
    reader = zlib.decompressobj(_GZIP_WINDOW)
    try:
        # Never more than the limit, because a few bytes could become gigabytes.
        original = reader.decompress(data, MAX_REQUEST_BYTES + 1)
    except zlib.error:
        raise InvalidRequest("The body is not in the format of gzip.") from None
    if len(original) > MAX_REQUEST_BYTES:
        raise too_large()
    if not reader.eof:
        raise InvalidRequest("The body ends in the middle of its compressed data.")
    return original


def too_large() -> MessageTooLarge:
    """Return the error for a request beyond the limit."""
    return MessageTooLarge(f"The request is larger than {MAX_REQUEST_BYTES} bytes. Send less.")


def envelope(data: bytes, flags: int = 0) -> bytes:
    """Return one message of a stream: its flags, its length and its bytes."""
    return _ENVELOPE.pack(flags, len(data)) + data


def only_message_in(body: bytes, encoding: str) -> bytes:
    """Return the message in the body of a stream with a single request; raise as `decompressed` does."""
    if len(body) < _ENVELOPE.size:
        raise InvalidRequest("The body must be one message in an envelope: a byte of flags, its length in four bytes.")
    flags, length = _ENVELOPE.unpack_from(body)
    data = body[_ENVELOPE.size :]
    if length != len(data):
        raise InvalidRequest(f"The body must be one message: the envelope announces {length} bytes, not {len(data)}.")
    if flags & ~COMPRESSED or (flags and encoding in (IDENTITY, "")):
        raise InvalidRequest(f"The envelope has the flags {flags}, which this request does not allow.")
    return decompressed(data, encoding) if flags & COMPRESSED else data


def _parse_json(method: Method, data: bytes) -> Message:
    try:
        return parse_request(method, data.decode())
    except UnicodeDecodeError:
        raise InvalidRequest("The request is not UTF-8 text.") from None
    except InvalidRequestText as error:
        violations = [Violation(error.field, error.reason)] if error.field else []
        raise InvalidRequest(str(error), violations=violations) from None


def _serialize_json(message: Message) -> bytes:
    return json_bytes(json_format.MessageToDict(message))


def _parse_proto(method: Method, data: bytes) -> Message:
    try:
        return method.request_type.FromString(data)
    except DecodeError:
        name = method.request_type.DESCRIPTOR.name
        raise InvalidRequest(f"The request is not a {name} in the binary form of protobuf.") from None


def _serialize_proto(message: Message) -> bytes:
    return message.SerializeToString()


JSON = Codec(_parse_json, _serialize_json)
PROTO = Codec(_parse_proto, _serialize_proto)
# By the name in `encoding` of a GET request.
BY_NAME = {"json": JSON, "proto": PROTO}
# By media type: of methods with one request and one response, and of methods with a stream of responses.
UNARY = {f"application/{name}": codec for name, codec in BY_NAME.items()}
STREAMING = {f"application/connect+{name}": codec for name, codec in BY_NAME.items()}
