"""Encoding of the attributes of spans, with a bounded cache for values with few variants, such as names of methods."""

from __future__ import annotations

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mesh.telemetry.otlp.wire import LENGTH_PREFIXED, VARINT, prefixed, tag, varint

# Limits of the cache, which takes at most 4 MB. Further values of a key, such as ids, are encoded each time.
MAX_KEYS, MAX_VALUES, MAX_BYTES = 64, 128, 300

_ATTRIBUTE = tag(Span, "attributes", LENGTH_PREFIXED)
_KEY = tag(KeyValue, "key", LENGTH_PREFIXED)
_VALUE = tag(KeyValue, "value", LENGTH_PREFIXED)
_STRING = tag(AnyValue, "string_value", LENGTH_PREFIXED)
_INT = tag(AnyValue, "int_value", VARINT)
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_64_BITS = 2**64 - 1


class EncodedValues(dict[str | int, bytes]):
    """Encoded attributes of one key by their values. A lookup encodes a missing value, and the first ones are stored.

    A lookup raises ValueError for a number with more than 64 bits, and for text that has no form in UTF-8.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self._start = _KEY + prefixed(key.encode()) + _VALUE

    def __missing__(self, value: str | int) -> bytes:
        is_text = isinstance(value, str)
        encoded = _ATTRIBUTE + prefixed(self._start + prefixed(_of_text(value) if is_text else _of_int(value)))
        if len(self) < MAX_VALUES and len(encoded) < MAX_BYTES:
            self[value] = encoded
        return encoded


class EncodedAttributes(dict[str, EncodedValues]):
    """Encoded attributes by their keys. A lookup adds a missing key, or raises ValueError if the SDK rejects the key."""

    def __missing__(self, key: str) -> EncodedValues:
        if not key or not isinstance(key, str):
            raise ValueError("the key of an attribute is a text")
        values = EncodedValues(key)
        if len(self) < MAX_KEYS and len(key) < MAX_BYTES:
            self[key] = values
        return values


def _of_text(text: str) -> bytes:
    return _STRING + prefixed(text.encode())


def _of_int(number: int) -> bytes:
    if not _MIN_INT <= number <= _MAX_INT:
        raise ValueError("a number has at most 64 bits")
    return _INT + varint(number & _64_BITS)
