from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.sdk.resources import Resource

from mesh.telemetry.log_lines import json_line
from mesh.telemetry.otlp.log_records import LogRecords
from tests.mesh.telemetry.test_log_lines import HOSTILE, texts, values
from tests.support.collector import values_of

NOW_NS = 1_800_000_000_000_000_000
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
AT = datetime(2026, 11, 29, 8, 5, 1, 123456, UTC)
FACTS: dict[str, object] = {"service": "gym", "logger": "solo60.access", "level": "info", "event": "call"}


def received(*lines: bytes) -> ExportLogsServiceRequest:
    """Return lines as a collector gets them."""
    records = LogRecords(Resource({"service.name": "gym"}))
    request = encode_logs([records.of(line, NOW_NS) for line in lines])
    return ExportLogsServiceRequest.FromString(request.SerializeToString())


def record_of(line: bytes) -> LogRecord:
    """Return one line as a collector gets it."""
    return received(line).resource_logs[0].scope_logs[0].log_records[0]


def test_the_keys_of_a_line_become_the_fields_of_a_record() -> None:
    """Time, level, event, trace and span become fields; the logger becomes the scope; the rest becomes attributes."""
    ids: dict[str, object] = {"trace_id": TRACE_ID, "span_id": SPAN_ID}
    notes: dict[str, object] = {
        "duration_ms": 1.25,
        "retried": True,
        "count": 3,
        "request": {"ids": [1, None], "a": "b"},
    }

    [group] = received(json_line({**FACTS, **ids, **notes, "timestamp": AT, "exception": "E"})).resource_logs

    [scoped] = group.scope_logs
    [record] = scoped.log_records
    assert values_of(group.resource.attributes) == {"service.name": "gym"}
    assert scoped.scope.name == "solo60.access"
    assert (record.body.string_value, record.severity_text) == ("call", "info")
    assert (record.trace_id.hex(), record.span_id.hex(), record.flags) == (TRACE_ID, SPAN_ID, 1)
    assert (record.time_unix_nano, record.observed_time_unix_nano) == (1_795_939_501_123_456_000, NOW_NS)
    assert values_of(record.attributes) == {**notes, "exception.stacktrace": "E"}


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        ("debug", SeverityNumber.SEVERITY_NUMBER_DEBUG),
        ("info", SeverityNumber.SEVERITY_NUMBER_INFO),
        ("warning", SeverityNumber.SEVERITY_NUMBER_WARN),
        ("error", SeverityNumber.SEVERITY_NUMBER_ERROR),
        ("critical", SeverityNumber.SEVERITY_NUMBER_FATAL),
        ("loud", SeverityNumber.SEVERITY_NUMBER_UNSPECIFIED),
    ],
)
def test_levels_become_severities(level: str, severity: SeverityNumber.ValueType) -> None:
    """Each level has OpenTelemetry's severity; an unknown level is only text."""
    record = record_of(json_line({**FACTS, "level": level}))

    assert (record.severity_number, record.severity_text) == (severity, level)


def test_lines_of_one_logger_share_a_scope() -> None:
    """The records of a batch are grouped by logger."""
    lines = [json_line({**FACTS, "logger": logger}) for logger in ("a", "b", "a")]

    [group] = received(*lines).resource_logs

    assert {each.scope.name: len(each.log_records) for each in group.scope_logs} == {"a": 2, "b": 1}


@pytest.mark.parametrize("key", ["trace_id", "span_id", "timestamp"])
@pytest.mark.parametrize("value", ["", "hunter2", 7, None, "F" * 32])
def test_a_malformed_id_or_time_remains_an_attribute(key: str, value: object) -> None:
    """A malformed id or time is neither lost nor an error."""
    record = record_of(json_line({**FACTS, key: value}))

    assert values_of(record.attributes) == {key: value}
    assert (record.trace_id, record.span_id, record.time_unix_nano, record.flags) == (b"", b"", NOW_NS, 0)


@pytest.mark.parametrize("line", [b"plain text", b'["a list"]', b"\xff\xfe", b""])
def test_a_line_that_is_no_object_becomes_a_body(line: bytes) -> None:
    """A line that is not a JSON object becomes the body of a record."""
    assert record_of(line).body.string_value == line.decode(errors="replace")


@pytest.mark.parametrize("value", [2**63, -(2**63), 2**64 - 1, 2**80, float("nan"), "\ud800", [2**63], {"a": "\udfff"}])
def test_values_beyond_the_types_of_otlp_do_not_lose_the_line(value: object) -> None:
    """A number above 64 bits, NaN or half of a surrogate pair changes only its own value."""
    record = record_of(json.dumps({**FACTS, "note": value, "code": "OK"}).encode())

    attributes = values_of(record.attributes)
    assert attributes.keys() == {"note", "code"}
    assert (attributes["code"], record.body.string_value) == ("OK", "call")


@given(st.dictionaries(texts, values))
def test_every_line_of_the_log_becomes_a_record(facts: dict[str, Any]) -> None:
    """Any line that the log may have becomes a record with as many attributes as it has other keys."""
    line = json_line({**facts, **FACTS, "hostile": HOSTILE})
    others = json.loads(line).keys() - FACTS.keys() - {"timestamp", "trace_id", "span_id", "exception"}

    assert len(record_of(line).attributes) >= len(others)
