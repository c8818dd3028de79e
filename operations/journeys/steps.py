"""Steps of a journey: the calls that were made for it, and its outbox messages, in the order of time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from contracts.method import find_method
from contracts.names import short_name
from contracts.policy import ContractError
from mesh.telemetry.spans import SERVER
from solo60.mesh.v1 import outbox_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mesh.telemetry.spans import StoredSpan
    from operations.journeys.evidence import Evidence

CALL, LATER, EVENT = "call", "later call", "event"
# Methods that undo the effect of a method, by short names.
UNDONE_BY: Mapping[str, tuple[str, ...]] = {
    "session.BookSession": ("session.CancelSession", "session.RejectSession"),
    "session.ClaimOffer": ("session.CancelSession", "session.RejectSession"),
    "session.InviteGuest": ("session.CancelInvitation",),
    "payment.ChargeSession": ("payment.RefundSession", "payment.CreditBackSession"),
    "subscription.CreateSubscription": ("subscription.CancelSubscription",),
}
OK = "OK"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a journey.

    - `kind`: "call", or "later call" or "event" for an outbox message of `caller`.
    - `method`: short name of the called method, such as "payment.ChargeSession".
    - `request`: masked request, as far as it is known.
    - `outcome`: "OK" or the error of a call; "pending", "delivered" or "dead" for a message.
    - `duration_ms`: time inside the callee; None if unknown.
    - `undone_by`: later steps that undo this one, as "payment.RefundSession: delivered".
    - `message_id`, `due_time`, `attempts`, `error`: of a message. `attempts` counts failed attempts.
    """

    time: datetime
    kind: str
    caller: str
    method: str
    outcome: str
    request: Mapping[str, Any] | None = None
    duration_ms: float | None = None
    trace_id: str = ""
    undone_by: tuple[str, ...] = ()
    message_id: str = ""
    due_time: datetime | None = None
    attempts: int = 0
    error: str = ""


def steps_of(evidence: Evidence) -> list[Step]:
    """Return the steps of a journey, the earliest first."""
    messages = [_step_of_message(service, message) for service, message in evidence.messages]
    calls = [step for spans in evidence.traces for step in _steps_of_trace(spans, evidence)]
    steps = sorted((*calls, *messages), key=lambda step: step.time)
    return [replace(step, undone_by=tuple(_undoing(step, steps[place + 1 :]))) for place, step in enumerate(steps)]


def _step_of_message(service: str, message: pb.OutboxMessage) -> Step:
    return Step(
        time=message.create_time.ToDatetime(UTC),
        kind=EVENT if message.event else LATER,
        caller=service,
        method=short_name(message.destination),
        outcome=pb.OutboxStatus.Name(message.status).removeprefix("OUTBOX_STATUS_").lower(),
        trace_id=message.trace_id,
        message_id=message.message_id,
        due_time=message.due_time.ToDatetime(UTC) if message.HasField("due_time") else None,
        attempts=message.attempts,
        error=message.last_error,
    )


def _steps_of_trace(spans: Sequence[StoredSpan], evidence: Evidence) -> Iterator[Step]:
    """Yield the served calls that mention the journey, with the calls around and below them."""
    by_id = {span.span_id: span for span in spans}
    tops = {_top_of(span, by_id).span_id for span in spans if span.span_id in evidence.mentions and _is_change(span)}
    for span in spans:
        if span.kind == SERVER and _has_ancestor(span, tops, by_id):
            line = evidence.lines.get(span.span_id)
            client = by_id.get(span.parent_id or "")
            yield Step(
                time=span.start,
                kind=CALL,
                caller=span.caller or (client.service if client else ""),
                method=short_name(span.name.lstrip("/")),
                outcome=span.error or OK,
                request=_request_in(line.facts) if line else None,
                duration_ms=span.duration_ms,
                trace_id=span.trace_id,
            )


def _is_change(span: StoredSpan) -> bool:
    """Return whether a call may change something. Reading a journey is no step of it."""
    try:
        return not find_method(span.name).is_read_only
    except ContractError:  # a method of an earlier or later version
        return False


def _request_in(facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
    request = facts.get("request")
    return request if isinstance(request, dict) else None


def _top_of(span: StoredSpan, by_id: Mapping[str, StoredSpan]) -> StoredSpan:
    """Return the outermost served call around a span."""
    top = span
    for ancestor in _ancestors(span, by_id):
        if ancestor.kind == SERVER:
            top = ancestor
    return top


def _has_ancestor(span: StoredSpan, wanted: set[str], by_id: Mapping[str, StoredSpan]) -> bool:
    return span.span_id in wanted or any(each.span_id in wanted for each in _ancestors(span, by_id))


def _ancestors(span: StoredSpan, by_id: Mapping[str, StoredSpan]) -> Iterator[StoredSpan]:
    seen = {span.span_id}
    while (parent := by_id.get(span.parent_id or "")) is not None and parent.span_id not in seen:
        seen.add(parent.span_id)
        yield parent
        span = parent


def _undoing(step: Step, later: Iterable[Step]) -> Iterator[str]:
    """Yield the later steps that undo a step, each once with its last outcome."""
    methods = UNDONE_BY.get(step.method, ())
    outcomes = {each.method: each.outcome for each in later if each.method in methods}
    for method, outcome in outcomes.items():
        yield f"{method}: {outcome}"
