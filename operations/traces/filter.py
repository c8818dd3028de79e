"""Filter of traces by method, service, errors, duration, caller, id and time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from contracts.names import own_name, short_name

if TYPE_CHECKING:
    from datetime import datetime

    from operations.traces.summary import TraceSummary


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Conditions for a trace, which must meet all of them. A default value is no condition.

    - `method`: called method, in any case. A name with a dot or slash is a method's short name, full name or end of the
      full name ("gym.GetGym", "GymService/GetGym"). Any other text is a part of the method's name ("getgym").
    - `service`: short name of a service with a span in the trace.
    - `only_errors`: at least one span has an error.
    - `slower_than_ms`: the trace took longer, in milliseconds.
    - `caller`: owner of the API key of the earliest served call.
    - `id`: the beginning of the trace id, or the whole correlation id.
    - `since`, `until`: earliest and latest start of the trace.
    """

    method: str = ""
    service: str = ""
    only_errors: bool = False
    slower_than_ms: float = 0.0
    caller: str = ""
    id: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, trace: TraceSummary) -> bool:
        """Return whether a trace meets all conditions."""
        return (
            (not self.only_errors or trace.errors > 0)
            and (not self.slower_than_ms or trace.duration_ms > self.slower_than_ms)
            and (not self.service or self.service in trace.services)
            and (not self.caller or self.caller == trace.caller)
            and (not self.method or any(is_method(self.method, each) for each in trace.methods))
            and (not self.id or trace.trace_id.startswith(self.id.lower()) or trace.correlation_id == self.id)
            and (self.since is None or trace.start >= self.since)
            and (self.until is None or trace.start <= self.until)
        )


@lru_cache(maxsize=4096)
def is_method(wanted: str, name: str) -> bool:
    """Return whether `wanted` is a form of the method `name` ("solo60.gym.v1.GymService/GetGym"), or a part of it."""
    wanted = wanted.strip().lstrip("/").replace("/", ".").lower()
    if "." not in wanted:
        return wanted in own_name(name).lower()
    full = name.replace("/", ".").lower()
    return wanted in (full, short_name(name).lower()) or full.endswith(f".{wanted}")
