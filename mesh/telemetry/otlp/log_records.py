"""Conversion of the log's JSON lines into OpenTelemetry's log records."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_STACKTRACE
from opentelemetry.trace import TraceFlags

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

SEVERITIES = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RECORDED = TraceFlags(TraceFlags.SAMPLED)
# Largest integer of OTLP.
_MAX_INTEGER = 2**63 - 1


class LogRecords:
    """Converter of log lines.

    The event of a line becomes the body, its level the severity, its logger the scope, and its trace and span ids the
    ids of the record. All other keys become attributes with the same names, except `exception`, which gets
    OpenTelemetry's name, and `service`, which is in the resource.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._scopes: dict[str, InstrumentationScope] = {}

    def of(self, line: bytes, observed_ns: int) -> ReadableLogRecord:
        """Return the record of one line; `observed_ns` is the current time in nanoseconds since the epoch.

        A line that is not a JSON object becomes the body of a record.
        """
        facts = _parsed(line)
        level, logger = facts.pop("level", None), facts.pop("logger", "")
        trace_id, span_id = _popped_id(facts, "trace_id", 32), _popped_id(facts, "span_id", 16)
        facts.pop("service", None)
        if "exception" in facts:
            facts[EXCEPTION_STACKTRACE] = facts.pop("exception")
        record = LogRecord(
            timestamp=_popped_time_ns(facts) or observed_ns,
            observed_timestamp=observed_ns,
            severity_text=str(level) if level else None,
            severity_number=SEVERITIES.get(str(level)),
            body=_value(facts.pop("event", None)),
            attributes={key: _value(value) for key, value in facts.items()},
        )
        record.trace_id, record.span_id = trace_id, span_id
        record.trace_flags = _RECORDED if trace_id else TraceFlags(0)
        return ReadableLogRecord(record, self._resource, self._scope(str(logger)))

    def _scope(self, logger: str) -> InstrumentationScope:
        # Equal scopes are one group of an export, and a hash of the same object is cheaper.
        found = self._scopes.get(logger)
        if found is None:
            found = self._scopes[logger] = InstrumentationScope(logger)
        return found


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        facts = orjson.loads(line)
    except ValueError:
        facts = _parsed_leniently(line)
    return facts if isinstance(facts, dict) else {"event": line.decode(errors="replace").rstrip("\n")}


def _parsed_leniently(line: bytes) -> object:
    """Parse a line that orjson rejects, with "NaN" or half of a surrogate pair. The result has neither."""
    try:
        facts = json.loads(line, parse_constant=str)
        return orjson.loads(json.dumps(facts, ensure_ascii=False).encode(errors="replace"))
    except ValueError:
        return None


def _popped_id(facts: dict[str, Any], key: str, digits: int) -> int:
    """Remove an id from `facts` and return it; 0 if there is none. Anything else under the key stays there."""
    text = facts.get(key)
    if not isinstance(text, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", text):
        return 0
    del facts[key]
    return int(text, 16)


def _popped_time_ns(facts: dict[str, Any]) -> int:
    """Remove the timestamp from `facts` and return it; 0 if it is not a time. Anything else under the key stays."""
    try:
        at = datetime.fromisoformat(facts["timestamp"])
        nanoseconds = (at - _EPOCH) // _MICROSECOND * 1_000
    except (KeyError, TypeError, ValueError):
        return 0
    del facts["timestamp"]
    return nanoseconds


def _value(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    """Return `value` in OTLP's types: an integer above 64 bits with sign becomes text."""
    if isinstance(value, dict):
        return {key: _value(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_value(each) for each in value]
    return str(value) if type(value) is int and value > _MAX_INTEGER else value
