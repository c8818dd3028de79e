from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from operations.traces import span_logs
from operations.traces.span_logs import logs_of_span
from tests.support.stored_traces import BOOKING, chain

if TYPE_CHECKING:
    from pathlib import Path

    from mesh.telemetry.spans import StoredSpan

START = datetime(2026, 11, 29, 8, 0, tzinfo=UTC)
START_NS = int(START.timestamp()) * 1_000_000_000


@pytest.fixture
def span() -> StoredSpan:
    """Return the server span of a call of BookSession, from 4 ms to 98.5 ms after START."""
    return list(chain(1, BOOKING[:1], start_ns=START_NS))[2]


def write_log(folder: Path, *lines: tuple[float, dict[str, object]]) -> None:
    """Write lines to the log of the session service, each at a number of milliseconds after START."""
    with (folder / "session.jsonl").open("a") as file:
        for ms, facts in lines:
            timestamp = (START + timedelta(milliseconds=ms)).isoformat()
            file.write(json.dumps({"timestamp": timestamp, "service": "session", **facts}) + "\n")


def test_a_call_has_the_lines_with_its_correlation_id(tmp_path: Path, span: StoredSpan) -> None:
    """Lines with the call's correlation id belong to it, also the access line shortly after its end."""
    own = {"correlation_id": span.correlation_id}
    access = {"event": "call", "code": "OK"}
    write_log(
        tmp_path,
        (3, {"event": "too early", **own}),
        (50, {"event": "of another call", "correlation_id": "other"}),
        (50, {"event": "of the call", **own}),
        (60, {**access, "method": "solo60.session.v1.SessionService/GetSession", **own}),
        (70, {"event": "of no call"}),
        (99, {**access, "method": span.name, **own}),
        (100, {"event": "of no call, too late"}),
        (400, {"event": "too late", **own}),
    )

    found = logs_of_span(tmp_path, span, "")

    assert [line.facts["event"] for line in found.own] == ["of the call", "call"]
    assert found.own[1].facts["method"] == span.name
    assert [line.facts["event"] for line in found.others] == ["of no call"]


def test_a_span_without_a_correlation_id_has_that_of_its_trace(tmp_path: Path, span: StoredSpan) -> None:
    """The correlation id of the trace finds the lines of a client span. Without any, no line is of the call."""
    write_log(tmp_path, (50, {"event": "of the call", "correlation_id": span.correlation_id}))
    client = replace(span, correlation_id="")

    assert len(logs_of_span(tmp_path, client, span.correlation_id).own) == 1
    assert logs_of_span(tmp_path, client, "").own == []


def test_a_long_call_has_its_first_lines(tmp_path: Path, span: StoredSpan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call has at most MAX_LINES lines."""
    monkeypatch.setattr(span_logs, "MAX_LINES", 3)
    for number in range(9):
        write_log(tmp_path, (10 + number, {"event": str(number), "correlation_id": span.correlation_id}))

    assert [line.facts["event"] for line in logs_of_span(tmp_path, span, "").own] == ["0", "1", "2"]


@pytest.mark.parametrize("service", ["../outside", "..", "", "x" * 1000, "a\0b", "solo60"])
def test_a_service_without_a_log_has_no_lines(tmp_path: Path, span: StoredSpan, service: str) -> None:
    """A span of a command has no log, and a hostile name of a service leads to no file outside of the folder."""
    folder = tmp_path / "logs"
    folder.mkdir()
    write_log(folder, (50, {"event": "of the call", "correlation_id": span.correlation_id}))
    (tmp_path / "outside.jsonl").write_text((folder / "session.jsonl").read_text())
    found = logs_of_span(folder, replace(span, service=service), "")

    assert (found.own, found.others) == ([], [])
    assert len(logs_of_span(folder, span, "").own) == 1
