"""Steps of a journey, from evidence that no mesh has to produce."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from local.log_reader import LogLine
from mesh.telemetry.spans import StoredSpan
from operations.journeys.evidence import Evidence
from operations.journeys.journey import Journey
from operations.journeys.steps import CALL, LATER, steps_of
from operations.journeys.subjects import Subject
from solo60.mesh.v1 import outbox_pb2 as pb

START = datetime(2026, 11, 29, 8, tzinfo=UTC)
BOOK = "solo60.session.v1.SessionService/BookSession"
CHARGE = "solo60.payment.v1.PaymentService/ChargeSession"
REFUND = "solo60.payment.v1.PaymentService/RefundSession"
LIST = "solo60.payment.v1.PaymentService/ListSessionPayments"


def span(span_id: str, name: str, parent_id: str | None, second: int, *, error: str | None = None) -> StoredSpan:
    """Return the span of a served call of 20 ms."""
    start_ns = int((START + timedelta(seconds=second)).timestamp() * 1e9)
    kind = "SERVER" if "/" in name else "INTERNAL"
    return StoredSpan("f" * 32, span_id, parent_id, "session", name, kind, start_ns, start_ns + 20_000_000, error)


def message(destination: str, second: int, status: pb.OutboxStatus.ValueType, **facts: object) -> pb.OutboxMessage:
    """Return an outbox message."""
    found = pb.OutboxMessage(message_id="m1", destination=destination, status=status, **facts)  # type: ignore[arg-type]  # any fields
    found.create_time.FromDatetime(START + timedelta(seconds=second))
    if status == pb.OUTBOX_STATUS_PENDING:
        found.due_time.FromDatetime(START + timedelta(minutes=1))
    return found


def line_of(span_id: str, **request: str) -> dict[str, LogLine]:
    """Return the access log line of a call."""
    return {span_id: LogLine("", "session", {"request": request})}


def journey_of(evidence: Evidence, status: str = "SESSION_STATUS_CONFIRMED") -> Journey:
    """Return the journey with this evidence."""
    return Journey(Subject("session", "s1", status, {}, []), steps_of(evidence), ())


def test_the_steps_are_the_calls_around_and_below_those_that_mention_the_id() -> None:
    """The charge mentions the session. Its caller and the sibling belong to the journey; the rest of the trace not."""
    spans = [
        span("root", "demo", None, 0),
        span("other", "solo60.gym.v1.GymService/ListGyms", "root", 1),
        span("book", BOOK, "root", 2),
        span("user", "solo60.user.v1.UserService/ValidateUser", "book", 3),
        span("charge", CHARGE, "book", 4),
    ]
    evidence = Evidence(mentions={"charge"}, lines=line_of("charge", session_id="s1"), traces=[spans])

    steps = steps_of(evidence)

    assert [step.method for step in steps] == ["session.BookSession", "user.ValidateUser", "payment.ChargeSession"]
    assert [step.request for step in steps] == [None, None, {"session_id": "s1"}]
    assert {step.kind for step in steps} == {CALL}
    assert steps[0].duration_ms == 20


def test_reading_a_journey_is_no_step_of_it() -> None:
    """A call without side effects that mentions the id begins no step."""
    evidence = Evidence(mentions={"list"}, traces=[[span("list", LIST, None, 0)]])

    assert steps_of(evidence) == []


def test_a_charge_shows_the_refund_that_undoes_it() -> None:
    """A step names the later steps that undo it, with their outcome."""
    spans = [span("charge", CHARGE, None, 0)]
    refund = message(REFUND, 5, pb.OUTBOX_STATUS_DELIVERED)
    evidence = Evidence([("session", refund)], {"charge"}, {}, [spans])

    charged, refunded = steps_of(evidence)

    assert charged.undone_by == ("payment.RefundSession: delivered",)
    assert (refunded.kind, refunded.caller, refunded.undone_by) == (LATER, "session", ())


def test_a_failed_call_has_its_error() -> None:
    """The outcome of a failed call is its error."""
    spans = [span("book", BOOK, None, 0, error="ALREADY_EXISTS")]

    [step] = steps_of(Evidence(mentions={"book"}, traces=[spans]))

    assert step.outcome == "ALREADY_EXISTS"


def test_a_journey_says_what_it_waits_for() -> None:
    """The status of the subject, pending messages and dead letters are waits."""
    evidence = Evidence(
        [
            ("session", message(REFUND, 0, pb.OUTBOX_STATUS_PENDING, last_error="UNAVAILABLE")),
            ("session", message(BOOK, 1, pb.OUTBOX_STATUS_DEAD, attempts=8, last_error="INTERNAL.")),
            ("session", message(BOOK, 2, pb.OUTBOX_STATUS_DELIVERED)),
        ]
    )

    assert journey_of(evidence, "SESSION_STATUS_PENDING_APPROVAL").waits == [
        "Waits for an admin: session.ApproveSession or session.RejectSession.",
        "Waits for payment.RefundSession. It is due at 2026-11-29 08:01:00 UTC. The last attempt failed: UNAVAILABLE",
        "Stopped: session.BookSession was given up after 8 failed attempts: INTERNAL.",
    ]
    assert journey_of(Evidence()).waits == []


def test_damaged_spans_are_no_endless_loop() -> None:
    """Spans that are parents of each other end the search."""
    spans = [span("a", BOOK, "b", 0), span("b", CHARGE, "a", 1)]

    assert len(steps_of(Evidence(mentions={"a"}, traces=[spans]))) == 2
