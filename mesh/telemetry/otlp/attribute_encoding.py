"""Encoding of the attributes of spans, with a bounded cache for values that recur, such as names of methods."""

from __future__ import annotations

from functools import lru_cache

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
    """Encoded attributes of one key, by their values. A lookup encodes a missing value; the first ones are stored.

    A lookup raises ValueError for a number with more than 64 bits, and for text that has no form in UTF-8.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = _KEY + prefixed(key.encode())
        self._before_text = lru_cache(maxsize=MAX_VALUES)(self._before)

    def __missing__(self, value: str | int) -> bytes:
        if isinstance(value, str):
            text = value.encode()
            encoded = self._before_text(len(text)) + text
        elif _MIN_INT <= value <= _MAX_INT:
            number = _INT + varint(value & _64_BITS)
            encoded = _ATTRIBUTE + prefixed(self._key + _VALUE + prefixed(number))
        else:
            raise ValueError("a number has at most 64 bits")
        if len(self) < MAX_VALUES and len(encoded) < MAX_BYTES:
            self[value] = encoded
        return encoded

    def _before(self, length: int) -> bytes:
        """Return the bytes of an attribute before its text of this length."""
        any_value = _STRING + varint(length)
        key_value = self._key + _VALUE + varint(len(any_value) + length) + any_value
        return _ATTRIBUTE + varint(len(key_value) + length) + key_value


class EncodedAttributes(dict[str, EncodedValues]):
    """Encoded attributes by key. A lookup adds a missing key; it raises ValueError if the SDK rejects the key."""

    def __missing__(self, key: str) -> EncodedValues:
        if not key or not isinstance(key, str):
            raise ValueError("the key of an attribute is a text")
        values = EncodedValues(key)
        if len(self) < MAX_KEYS and len(key) < MAX_BYTES:
            self[key] = values
        return values
