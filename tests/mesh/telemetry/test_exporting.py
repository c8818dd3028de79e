"""Exports within one process: their imports, and the reports of their failures."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import grpc
import pytest
from opentelemetry import trace
from structlog.testing import capture_logs

from mesh.config import HTTP, Settings
from mesh.telemetry.export_state import ExportState
from mesh.telemetry.export_thread import ExportThread
from mesh.telemetry.exporting import exporting
from mesh.telemetry.log_lines import LogLineHandler
from mesh.telemetry.setup import add_call_context, telemetry_troubles
from tests.support.collector import collecting
from tests.support.eventually import TIMEOUT_S, eventually
from tests.support.http_collector import collecting_by_http

RUN_WITHOUT_COLLECTOR = """
import sys
from mesh.config import Settings
from mesh.serving.process import serving
from mesh.telemetry.exporting import exporting
from mesh.telemetry.setup import set_up_logging

settings = Settings(_env_file=None)
with exporting(settings, "gym", set_up_logging(settings, "gym")):
    print(*[name for name in sys.modules if name.startswith(("opentelemetry.exporter", "mesh.telemetry.otlp"))])
"""


def test_without_a_collector_nothing_of_otlp_is_imported() -> None:
    """A process without OTEL_EXPORTER_OTLP_ENDPOINT imports no exporter and no conversion of logs and metrics."""
    done = subprocess.run([sys.executable, "-c", RUN_WITHOUT_COLLECTOR], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == ""


async def test_a_collector_that_rejects_a_signal_is_a_trouble() -> None:
    """A collector that rejects telemetry is a trouble of the process until it accepts it; Jaeger takes only traces."""
    stream = io.BytesIO()
    lines = LogLineHandler(stream, "gym")
    with collecting() as collector:
        collector.rejects = grpc.StatusCode.UNIMPLEMENTED
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
            otel_exporter_otlp_endpoint=collector.endpoint,
            otel_metric_export_interval=100,
        )
        with exporting(settings, "gym", lines):
            lines.write_call({"method": "m"})
            await eventually(lambda: len(telemetry_troubles()) == 2)
            assert sorted(telemetry_troubles()) == [
                f"OTEL_EXPORTER_OTLP_ENDPOINT: {each} do not reach {collector.endpoint}; if it does not accept {each}, "
                f"set OTEL_{each.upper()}_EXPORTER=none."
                for each in ("logs", "metrics")
            ]

            collector.rejects = None
            lines.write_call({"method": "m"})
            await eventually(lambda: telemetry_troubles() == [])
            # Still in the buffer of the log when the export ends.
            lines.write_call({"method": "m"})

    assert len(collector.logs) == 2
    assert lines.export is None
    assert len(stream.getvalue().splitlines()) == 3


async def test_all_telemetry_is_exported_over_http() -> None:
    """Over HTTP, spans, metrics and log lines arrive. The requests cause no log lines, even at the level "debug"."""
    lines = LogLineHandler(io.BytesIO(), "gym")
    logging.getLogger().addHandler(lines)
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        with collecting_by_http() as collector:
            settings = Settings(
                _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
                otel_exporter_otlp_endpoint=collector.endpoint,
                otel_exporter_otlp_protocol=HTTP,
                otel_metric_export_interval=100,
            )
            with exporting(settings, "gym", lines):
                with trace.get_tracer("tests").start_as_current_span("one"):
                    lines.write_call({"event": "call"})
                await eventually(lambda: collector.requests.count("metrics") > 1 and "logs" in collector.requests)
                assert telemetry_troubles() == []
    finally:
        logging.getLogger().removeHandler(lines)
        logging.getLogger().setLevel(logging.WARNING)

    assert [each.item.name for each in collector.spans] == ["one"]
    assert {each.resource["service.name"] for each in collector.metrics} == {"gym"}
    assert [each.item.body.string_value for each in collector.logs] == ["call"]


async def test_a_collector_that_rejects_http_is_a_trouble() -> None:
    """Over HTTP, a rejected kind of telemetry is a trouble of the process."""
    lines = LogLineHandler(io.BytesIO(), "gym")
    with collecting_by_http() as collector:
        collector.rejects = grpc.StatusCode.UNIMPLEMENTED
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
            otel_exporter_otlp_endpoint=collector.endpoint,
            otel_exporter_otlp_protocol=HTTP,
            otel_metrics_exporter="none",
        )
        with exporting(settings, "gym", lines):
            lines.write_call({"event": "call"})
            await eventually(lambda: len(telemetry_troubles()) == 1)
            assert telemetry_troubles()[0].startswith(
                f"OTEL_EXPORTER_OTLP_ENDPOINT: logs do not reach {collector.endpoint}; "
            )


def test_a_failing_log_file_does_not_stop_the_export() -> None:
    """Lines that a full disk rejects still reach the collector."""
    exported: list[bytes] = []
    stream = io.BytesIO()
    stream.close()
    lines = LogLineHandler(stream, "gym")
    lines.export = exported.append

    lines.write_call({"number": 1})
    lines.emit(logging.LogRecord("ours", logging.INFO, "", 0, '{"number": 2}', None, None))

    assert lines.trouble
    assert [json.loads(line)["number"] for line in b"".join(exported).splitlines()] == [1, 2]


def test_a_failure_is_logged_once_and_its_end_too() -> None:
    """The first failure is logged with its reason, and the recovery with the number of lost items."""
    state = ExportState("spans", "traces cannot be written to /spans")

    def full() -> bool:
        raise OSError(28, "No space left on device")

    with capture_logs() as logged:
        assert state.attempt(lambda: True, 1)
        for _ in range(3):
            assert not state.attempt(full, 2)
        assert state.trouble == "traces cannot be written to /spans: No space left on device."
        assert state.attempt(lambda: True, 1)

    assert state.trouble == state.trouble_at_exit == ""
    assert [(line["event"], line.get("reason"), line.get("lost")) for line in logged] == [
        ("spans are not exported", "traces cannot be written to /spans: No space left on device.", None),
        ("spans are exported again", None, 6),
    ]


async def test_an_exception_of_an_export_is_logged_and_the_next_one_runs() -> None:
    """An exception is logged, and the thread exports again; the last time when it is stopped."""
    done: list[int] = []

    def export() -> None:
        done.append(len(done))
        if len(done) == 1:
            raise ValueError("the first one")

    with capture_logs() as logged:
        thread = ExportThread("test export", export, 0.01)
        await eventually(lambda: len(done) > 2)
        before = len(done)
        thread.stop(TIMEOUT_S, lambda: done.append(-1))

    assert [(line["event"], line["what"]) for line in logged] == [("an export failed", "test export")]
    assert len(done) > before + 1
    assert done[-1] == -1


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_line_within_a_recorded_span_has_its_ids(ratio: float) -> None:
    """A log line that is written within a recorded span has the ids of trace and span, and else no id."""
    settings = Settings(_env_file=None, trace_sample_ratio=ratio)  # type: ignore[call-arg]  # pydantic-settings' own argument
    with exporting(settings, "gym", LogLineHandler(io.BytesIO(), "gym")):
        tracer = trace.get_tracer("tests")
        with tracer.start_as_current_span("call") as span:
            line = add_call_context(None, "info", {"event": "hello"})

    context = span.get_span_context()
    ids = {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
    assert line == ({"event": "hello", **ids} if ratio else {"event": "hello"})
    assert add_call_context(None, "info", {"event": "hello"}) == {"event": "hello"}
