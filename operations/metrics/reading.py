"""Reading of one Prometheus page: the counters of calls, as go-grpc-prometheus names them, and the breakers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from interceptors.breaker.metrics import STATE_NUMBERS
from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

CLIENT, SERVER = "client", "server"
START_TIME = "process_start_time_seconds"
BREAKER = "grpc_client_breaker_state"
_STATES = {number: state for state, number in STATE_NUMBERS.items()}
# All other lines of a page are skipped, because parsing a line takes several microseconds.
_CALLS = tuple(f"grpc_{side}_{what}" for side in (CLIENT, SERVER) for what in ("handled", "handling", "in_flight"))
_READ = tuple(f"{prefix}{name}" for prefix in ("", "# TYPE ") for name in (START_TIME, BREAKER, *_CALLS))


class NotMetrics(Failure):
    """A text is not a Prometheus page of a service."""


class Outcome(NamedTuple):
    """Counter of finished calls of `method` ("package.Service/Method") with one outcome.

    `caller` is the owner of the caller's key on the side of the server, and "" on the side of the client.
    """

    side: str
    method: str
    code: str
    reason: str
    caller: str


class Bucket(NamedTuple):
    """Counter of finished calls of `method` that took at most `bound_s` seconds."""

    side: str
    method: str
    bound_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Values of one page. `start_time_s` identifies the process, because counters begin at zero in a new one."""

    start_time_s: float
    counters: dict[Outcome | Bucket, float] = field(default_factory=dict)
    in_flight: dict[tuple[str, str], float] = field(default_factory=dict)
    breakers: dict[str, str] = field(default_factory=dict)


def reading_of(text: str) -> Reading:
    """Return the values of a Prometheus page; raise NotMetrics if it is not the page of a process."""
    read = "\n".join(line for line in text.split("\n") if line.startswith(_READ))
    try:
        samples = [each for family in text_string_to_metric_families(read + "\n") for each in family.samples]
        start_time_s = next(sample.value for sample in samples if sample.name == START_TIME)
        reading = Reading(start_time_s)
        for sample in samples:
            _add(reading, sample.name, sample.labels, sample.value)
    except (ValueError, KeyError, StopIteration):
        raise NotMetrics(f"It is not a Prometheus page of a service: {START_TIME} or a label is missing.") from None
    return reading


def _add(reading: Reading, name: str, labels: Mapping[str, str], value: float) -> None:
    if name == START_TIME:
        return
    method = f"{labels['grpc_service']}/{labels['grpc_method']}"
    side = CLIENT if name.startswith("grpc_client") else SERVER
    if name == BREAKER:
        reading.breakers[method] = _STATES.get(int(value), "")
    elif name.endswith("_handled_total"):
        outcome = Outcome(side, method, labels["grpc_code"], labels.get("reason", ""), labels.get("caller", ""))
        reading.counters[outcome] = value
    elif name.endswith("_handling_seconds_bucket"):
        reading.counters[Bucket(side, method, float(labels["le"]))] = value
    elif name.endswith("_in_flight"):
        reading.in_flight[side, method] = value
