"""Evidence of a journey: the outbox messages, log lines and traces that mention its id."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from contracts.errors import ServiceError
from interceptors.access_log import EVENT
from local.log_reader import last_lines, services_with_logs
from mesh.telemetry.spans import read_trace
from operations.outbox.messages import newest_of_all
from operations.texts import failure_text
from solo60.mesh.v1 import outbox_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from local.log_reader import LogLine
    from mesh.config import Settings
    from mesh.serving.channel import Channels
    from mesh.telemetry.spans import StoredSpan

MAX_MESSAGES = 100
MAX_LINES = 500
MAX_TRACES = 20


@dataclass(slots=True)
class Evidence:
    """Outbox messages with their service, access log lines by span id, and traces, of one journey.

    `mentions` are the ids of the spans whose request mentions the journey's id. `failures` has a sentence for each
    outbox that cannot be read. Logs and traces cover only what is still stored.
    """

    messages: list[tuple[str, pb.OutboxMessage]] = field(default_factory=list)
    mentions: set[str] = field(default_factory=set)
    lines: dict[str, LogLine] = field(default_factory=dict)
    traces: list[list[StoredSpan]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def collect(settings: Settings, channels: Channels, subject_id: str) -> Evidence:
    """Return the evidence of the journey of a session or subscription."""
    evidence = Evidence()
    wanted = pb.ListMessagesRequest(mentioned_id=subject_id)
    for service, answer in (await newest_of_all(channels, wanted, MAX_MESSAGES)).items():
        if isinstance(answer, ServiceError):
            evidence.failures.append(f"The outbox of {service} cannot be read: {failure_text(answer)}")
        else:
            evidence.messages += [(service, message) for message in answer]
    await asyncio.to_thread(_read_files, settings, subject_id, evidence)
    return evidence


def _read_files(settings: Settings, subject_id: str, evidence: Evidence) -> None:
    mentions = _calls_with(settings.log_folder, [subject_id])
    evidence.mentions = set(mentions)
    of_calls = (str(line.facts.get("trace_id", "")) for line in mentions.values())
    of_messages = (message.trace_id for _, message in evidence.messages)
    traces = list(islice(filter(None, dict.fromkeys((*of_calls, *of_messages))), MAX_TRACES))
    evidence.traces = [spans for each in traces if (spans := read_trace(settings.local_span_dir, each))]
    evidence.lines = _calls_with(settings.log_folder, traces)


def _calls_with(folder: Path, texts: Iterable[str]) -> dict[str, LogLine]:
    """Return the latest access log lines that contain one of `texts`, by span id."""
    lines = last_lines(folder, services_with_logs(folder), MAX_LINES, _Containing(texts))
    return {str(line.facts["span_id"]): line for line in lines if line.facts.get("span_id")}


class _Containing:
    """Filter of access log lines that contain one of several texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [text.encode() for text in texts]

    def may_match(self, raw: bytes) -> bool:
        return any(text in raw for text in self._texts)

    def matches(self, line: LogLine) -> bool:
        return line.facts.get("event") == EVENT
