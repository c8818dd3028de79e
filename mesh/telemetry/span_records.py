"""Records of the local span store: JSON objects of spans, without personal data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opentelemetry.semconv._incubating.attributes import net_attributes, rpc_attributes
from opentelemetry.semconv._incubating.attributes.user_agent_attributes import USER_AGENT_ORIGINAL
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_MESSAGE, EXCEPTION_TYPE
from opentelemetry.semconv.attributes.network_attributes import NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT
from opentelemetry.semconv.attributes.server_attributes import SERVER_ADDRESS, SERVER_PORT

from contracts.mail_address import MAX_ADDRESS_LENGTH
from contracts.redaction import MASK, MAX_TEXT_LENGTH
from contracts.service_error import ServiceError
from interceptors.tracing.interceptor import CORRELATION_ID_ATTRIBUTE, REQUEST_ATTEMPTS_ATTRIBUTE
from interceptors.tracing.span_attributes import CALLER_ATTRIBUTE, RPC_STATUS_CODE, RPC_USER_AGENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import Event, ReadableSpan

    Value = str | bool | int | float | list[str]

NO_DESCRIPTION = "The span has the status ERROR, without a description."
MAX_ERROR_LENGTH = 500
MAX_EVENTS = 32
MAX_VALUES = 16
# Attributes of the mesh itself, such as `solo60.reason`. The mesh never sets one to personal data.
OWN_PREFIX = "solo60."
# Attributes of `interceptors.tracing` and `services.communication.sending_span`.
KNOWN_ATTRIBUTES = frozenset({
    ERROR_TYPE,
    EXCEPTION_TYPE,
    NETWORK_PEER_ADDRESS,
    NETWORK_PEER_PORT,
    REQUEST_ATTEMPTS_ATTRIBUTE,
    RPC_STATUS_CODE,
    RPC_USER_AGENT,
    SERVER_ADDRESS,
    SERVER_PORT,
    USER_AGENT_ORIGINAL,
    net_attributes.NET_PEER_IP,
    net_attributes.NET_PEER_NAME,
    net_attributes.NET_PEER_PORT,
    rpc_attributes.RPC_GRPC_STATUS_CODE,
    rpc_attributes.RPC_METHOD,
    rpc_attributes.RPC_SERVICE,
    rpc_attributes.RPC_SYSTEM,
    rpc_attributes.RPC_SYSTEM_NAME,
})  # fmt: skip
# These have keys of their own in the record.
_OWN_KEYS = frozenset({CORRELATION_ID_ATTRIBUTE, CALLER_ATTRIBUTE})
# More than the contract's rule accepts as an address, because a text may be malformed.
_MAIL_ADDRESS = re.compile(r"""[^\s@"'<>(),;:=]+@[^\s@"'<>(),;:=]+\.[^\s@"'<>(),;:=]+""")


def record_of(span: ReadableSpan, service: str) -> dict[str, object]:
    """Return the JSON object of a finished span of `service`, for the local span store.

    The value of an attribute is stored if the mesh sets this attribute. The value of any other attribute is masked,
    because a library or an application may put anything there. Mail addresses in texts are masked, and long texts are
    shortened. The text and the traceback of an exception are never stored, except for the message of a ServiceError.
    """
    context = span.get_span_context()
    attributes = span.attributes or {}
    return {
        "trace_id": f"{context.trace_id:032x}" if context else "",
        "span_id": f"{context.span_id:016x}" if context else "",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "service": service,
        "name": masked_text(span.name),
        "kind": span.kind.name,
        "start_ns": span.start_time or 0,
        "end_ns": span.end_time or 0,
        "error": _error_of(span),
        "correlation_id": masked_text(str(attributes.get(CORRELATION_ID_ATTRIBUTE, ""))),
        "caller": masked_text(str(attributes.get(CALLER_ATTRIBUTE, ""))),
        "attributes": _masked_attributes(attributes),
        "events": [_event(each) for each in span.events[:MAX_EVENTS]],
    }


def masked_text(text: str, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Return `text` with mail addresses masked, at most `max_length` characters and an ellipsis long."""
    if "@" in text:
        # An address that the limit would cut in two must be masked as a whole.
        text = _MAIL_ADDRESS.sub(MASK, text[: max_length + MAX_ADDRESS_LENGTH])
    if len(text) > max_length:
        text = f"{text[:max_length]}…"
    # A lone surrogate has no form in UTF-8, so readers would reject the whole line.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _error_of(span: ReadableSpan) -> str | None:
    if span.status.is_ok:
        return None
    text = span.status.description or NO_DESCRIPTION
    for event in span.events:
        facts = event.attributes or {}
        kind = str(facts.get(EXCEPTION_TYPE, ""))
        # The SDK makes a status of an exception's text, which may quote values, such as a row of a database.
        if kind and text.endswith(str(facts.get(EXCEPTION_MESSAGE, ""))) and kind not in _service_errors():
            text = kind
    return masked_text(text, MAX_ERROR_LENGTH)


def _service_errors() -> set[str]:
    return {f"{each.__module__}.{each.__qualname__}" for each in ServiceError.by_reason.values()}


def _event(event: Event) -> dict[str, object]:
    name = masked_text(event.name)
    return {"name": name, "time_ns": event.timestamp, "attributes": _masked_attributes(event.attributes or {})}


def _masked_attributes(attributes: Mapping[str, object]) -> dict[str, Value]:
    return {masked_text(name): _masked(name, value) for name, value in attributes.items() if name not in _OWN_KEYS}


def _masked(name: str, value: object) -> Value:
    if name not in KNOWN_ATTRIBUTES and not name.startswith(OWN_PREFIX):
        return MASK
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, bool | int | float):
        return value
    return [masked_text(str(each)) for each in value[:MAX_VALUES]] if isinstance(value, tuple) else MASK
