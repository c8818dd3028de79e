"""OTLP encoding of spans, equal to that of the exporter package, and faster for lean spans.

Bytes that many spans share are encoded once. The exporter package encodes all other spans: spans with events, links,
checked attributes or values other than text and whole numbers, and spans of other tracers.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_by_package
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanKind

from interceptors.tracing.lean_span import LeanSpan, SharedAttributes
from mesh.telemetry.otlp.attribute_encoding import EncodedAttributes
from mesh.telemetry.otlp.wire import EIGHT_BYTES, LENGTH_PREFIXED, prefixed, tag, varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Tracer as SdkTracer
    from opentelemetry.trace import Status as OtelStatus
    from opentelemetry.trace import TraceState

_RESOURCE_SPANS = tag(ExportTraceServiceRequest, "resource_spans", LENGTH_PREFIXED)
_SCOPE_SPANS = tag(ResourceSpans, "scope_spans", LENGTH_PREFIXED)
_SPAN = tag(ScopeSpans, "spans", LENGTH_PREFIXED)
# Tag and length of spans up to this length.
_BEFORE_SPAN = tuple(_SPAN + varint(length) for length in range(2048))
_TRACE_ID = tag(Span, "trace_id", LENGTH_PREFIXED) + varint(16)
_SPAN_ID = tag(Span, "span_id", LENGTH_PREFIXED) + varint(8)
_PARENT_ID = tag(Span, "parent_span_id", LENGTH_PREFIXED) + varint(8)
_START = tag(Span, "start_time_unix_nano", EIGHT_BYTES)
_END = tag(Span, "end_time_unix_nano", EIGHT_BYTES)
# The ids and times of a span, with the tag of each.
_pack = struct.Struct("<2s16s2s8s2s8ssQsQ").pack
_pack_root = struct.Struct("<2s16s2s8ssQsQ").pack
_TRACE_STATE = tag(Span, "trace_state", LENGTH_PREFIXED)
_STATUS = tag(Span, "status", LENGTH_PREFIXED)
_UNSET, _OF_UNSET = LeanSpan._status, _STATUS + varint(0)
_OF_LOCAL = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_OF_REMOTE = _OF_LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_SIMPLE = (str, int)
_NO_STATE = INVALID_SPAN_CONTEXT.trace_state
_encoded_attributes = EncodedAttributes()

_log = structlog.stdlib.get_logger("solo60.telemetry")


def encode_spans(spans: Iterable[ReadableSpan]) -> bytes:
    """Return the ExportTraceServiceRequest with `spans`."""
    # The SDK has one tracer for each scope, but `get_tracer` returns a new lean tracer each time.
    by_tracer: dict[SdkTracer, list[bytes]] = {}
    others: list[ReadableSpan] = []
    for span in spans:
        if isinstance(span, LeanSpan) and (encoded := _encode(span)) is not None:
            group = by_tracer.setdefault(span.tracer.sdk, [])
            length = len(encoded)
            group += _BEFORE_SPAN[length] if length < len(_BEFORE_SPAN) else _SPAN + varint(length), encoded
        else:
            others.append(span)
    groups = [_group(tracer, b"".join(encoded)) for tracer, encoded in by_tracer.items()]
    groups += _groups_by_package(others)
    return b"".join(groups)


def _groups_by_package(spans: Sequence[ReadableSpan]) -> list[bytes]:
    """Return the ResourceSpans that the exporter package encodes. A span with an impossible value is dropped alone.

    Such a value is half of a surrogate pair in a span's name, or a time before 1970.
    """
    try:
        return [encode_by_package(spans).SerializeToString()] if spans else []
    except Exception as error:  # noqa: BLE001 - the package raises any error of protobuf
        if len(spans) > 1:
            return [group for each in spans for group in _groups_by_package([each])]
        _log.warning("a span is not exported, because it cannot be encoded", error=type(error).__name__)
        return []


@lru_cache(maxsize=64)
def _frame(tracer: SdkTracer, resource: Resource) -> tuple[bytes, bytes]:
    """Return the encoded fields of ResourceSpans and of ScopeSpans around the spans of a tracer."""
    scope = tracer._instrumentation_scope
    empty = ReadableSpan("", INVALID_SPAN_CONTEXT, resource=resource, instrumentation_scope=scope)
    [of_resource] = encode_by_package([empty]).resource_spans
    [of_scope] = of_resource.scope_spans
    del of_resource.scope_spans[:], of_scope.spans[:]
    return of_resource.SerializeToString(), of_scope.SerializeToString()


def _group(tracer: SdkTracer, spans: bytes) -> bytes:
    of_resource, of_scope = _frame(tracer, tracer.resource)
    return _RESOURCE_SPANS + prefixed(of_resource + _SCOPE_SPANS + prefixed(of_scope + spans))


def _encode(span: LeanSpan) -> bytes | None:
    """Return the fields of a span, or None if the exporter package must encode it."""
    first, shared, rest = span.first, span.shared, span.rest
    if not span.is_plain or len(first) + len(shared) + len(rest) > span.tracer.max_plain_attributes:
        return None
    # Unpack the tuple, because SpanContext's properties take longer.
    trace_id, span_id, _, _, state, _ = span._context
    parent = span._parent
    trace, own, start, end = trace_id.to_bytes(16), span_id.to_bytes(8), span._start_time, span._end_time
    flags: int = _OF_LOCAL
    try:
        if parent is None:
            ids = _pack_root(_TRACE_ID, trace, _SPAN_ID, own, _START, start, _END, end)
        else:
            if parent[2]:
                flags = _OF_REMOTE
            ids = _pack(_TRACE_ID, trace, _SPAN_ID, own, _PARENT_ID, parent[1].to_bytes(8), _START, start, _END, end)
        status = _OF_UNSET if span._status is _UNSET else _of_status(span._status)
        # Pass the kind as a number, because the hash of an enum member takes longer.
        parts = [_constants(span._name, span._kind._value_, flags), ids, status]
        if state is not _NO_STATE and state:
            parts.append(_of_state(state))
        if shared or rest.keys().isdisjoint(first.keys()):  # `end_with` replaces no attribute
            parts += _encoded(first), _encoded(shared), _encoded(rest)
        else:
            parts.append(_encoded(_replaced(first, rest)))
    except (ValueError, TypeError, struct.error):
        return None
    return b"".join(parts)


def _encoded(attributes: Mapping[str, Any]) -> bytes:
    """Return encoded attributes; raise ValueError for those that only the exporter package encodes."""
    if not isinstance(attributes, SharedAttributes):
        return _encoded_each(attributes)
    if attributes.encoded is None:
        attributes.encoded = _encoded_each(attributes)
    return attributes.encoded


def _encoded_each(attributes: Mapping[str, Any]) -> bytes:
    parts = []
    for key, value in attributes.items():
        if type(value) not in _SIMPLE:
            raise ValueError("neither text nor a whole number")
        parts.append(_encoded_attributes[key][value])
    return b"".join(parts)


def _replaced(attributes: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Return both mappings in the order of the SDK, which moves a replaced attribute to the end."""
    return {**{key: value for key, value in attributes.items() if key not in by}, **by}


@lru_cache(maxsize=256)
def _constants(name: str, kind: int, flags: int) -> bytes:
    """Return the fields that are equal for all spans of a method; `kind` is the value of a SpanKind."""
    number = Span.SpanKind.Value(f"SPAN_KIND_{SpanKind(kind).name}")
    return Span(name=name, kind=number, flags=flags).SerializeToString()


def _of_status(status: OtelStatus) -> bytes:
    code = Status.StatusCode.Value(f"STATUS_CODE_{status.status_code.name}")
    return _STATUS + prefixed(Status(code=code, message=status.description or "").SerializeToString())


def _of_state(state: TraceState) -> bytes:
    return _TRACE_STATE + prefixed(",".join(f"{key}={value}" for key, value in state.items()).encode())
