"""History of an outbox message, from the message itself, the logs and the spans of a local mesh."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from local.log_reader import last_lines
from local.parts import CONSOLE
from mesh.telemetry.spans import CLIENT, read_trace
from operations.logs.filter import LogFilter
from solo60.mesh.v1 import outbox_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.config import Settings

# Numbers of log lines that are searched: those of the request that wrote the message, and those of the console.
MAX_REQUEST_LINES = 1_000
MAX_CONSOLE_LINES = 1_000
SETTLED = {pb.OUTBOX_STATUS_DELIVERED: "delivered", pb.OUTBOX_STATUS_DEAD: "given up"}


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """Event in the life of a message. `source` is "outbox", "log" or "trace"."""

    time: datetime
    event: str
    detail: str
    source: str


def history_of(settings: Settings, service: str, message: pb.OutboxMessage) -> list[HistoryEntry]:
    """Return the known history of a message of `service`, oldest first.

    Logs and spans are those of a local mesh, and older ones are deleted. Spans do not name a message: if a request
    wrote several messages to one method, the calls for all of them are listed. The outbox has business time, logs and
    spans have the time of the machine.
    """
    began = HistoryEntry(message.create_time.ToDatetime(UTC), "written", "", "outbox")
    between = [*_log_entries(settings, service, message), *_calls(settings, service, message)]
    return [began, *sorted(between, key=lambda entry: entry.time), *_end(message)]


def _end(message: pb.OutboxMessage) -> Iterator[HistoryEntry]:
    if message.HasField("settle_time"):
        yield HistoryEntry(message.settle_time.ToDatetime(UTC), SETTLED[message.status], message.last_error, "outbox")
    elif message.HasField("due_time"):
        yield HistoryEntry(message.due_time.ToDatetime(UTC), "due", "", "outbox")


def _log_entries(settings: Settings, service: str, message: pb.OutboxMessage) -> Iterator[HistoryEntry]:
    """Yield the relay's lines about the message, and the actions of the console's readers."""
    if message.correlation_id:
        of_request = LogFilter(correlation_id=message.correlation_id)
        for line in last_lines(settings.log_folder, [service], MAX_REQUEST_LINES, of_request):
            if line.facts.get("message_id") == message.message_id:
                detail = f"failed attempts: {line.facts.get('attempts', '')}. {line.facts.get('error', '')}"
                yield HistoryEntry(_time_of(line.timestamp), str(line.facts.get("event", "")), detail, "log")
    target = target_of(service, message.message_id)
    for line in last_lines(settings.log_folder, [CONSOLE], MAX_CONSOLE_LINES, LogFilter()):
        if line.facts.get("target") == target:
            detail = f"{line.facts.get('action', '')} by {line.facts.get('caller', '')}"
            yield HistoryEntry(_time_of(line.timestamp), str(line.facts.get("event", "")), detail, "log")


def target_of(service: str, message_id: str) -> str:
    """Return the name of a message in the log of actions."""
    return f"{service}/{message_id}"


def _calls(settings: Settings, service: str, message: pb.OutboxMessage) -> Iterator[HistoryEntry]:
    """Yield the calls of `service` to the destination, in the trace of the request that wrote the message."""
    if not message.trace_id:
        return
    for span in read_trace(settings.local_span_dir, message.trace_id):
        if (span.service, span.kind, span.name) == (service, CLIENT, message.destination):
            yield HistoryEntry(span.start, "called", f"{span.error or 'OK'}, {span.duration_ms:.1f} ms", "trace")


def _time_of(timestamp: str) -> datetime:
    """Return the time of a log line. Every JSON line has one."""
    return datetime.fromisoformat(timestamp)
