from __future__ import annotations

from dataclasses import replace

from operations.traces.waterfall import waterfall
from tests.support.stored_traces import BOOKING, MS, chain

START_NS = 1_790_000_000 * 1_000_000_000


def test_the_two_spans_of_a_call_share_a_row() -> None:
    """A row has the client span and the server span of a call. Calls below it are one level deeper."""
    rows = waterfall(list(chain(1, start_ns=START_NS, error="Declined.")))

    assert [(row.depth, row.hop, row.label) for row in rows] == [
        (0, "solo60", "call"),
        (1, "solo60 → session", "BookSession"),
        (2, "session → user", "GetUser"),
        (3, "user → gym", "QuotePrice"),
        (4, "gym → payment", "Charge"),
        (5, "payment → communication", "SendEmailAsync"),
    ]
    assert [row.error for row in rows] == [None] * 5 + ["Declined."]
    assert rows[1].served is not None


def test_a_call_without_an_answer_has_a_row() -> None:
    """A call without a server span has a row with its whole method."""
    rows = waterfall(list(chain(1, BOOKING[:1], start_ns=START_NS))[:2])

    assert [(row.depth, row.hop, row.label) for row in rows] == [
        (0, "solo60", "call"),
        (1, "solo60", "SessionService/BookSession"),
    ]


def test_each_attempt_of_a_call_has_a_row() -> None:
    """A call with two attempts has a row for itself and, below it, one for each attempt in order."""
    *others, client, server = chain(1, BOOKING[:1], start_ns=START_NS)
    second = replace(server, span_id="2" * 16, start_ns=server.start_ns + MS)
    rows = waterfall([*others, client, second, server])

    assert [(row.depth, row.span.span_id) for row in rows[1:]] == [
        (1, client.span_id),
        (2, server.span_id),
        (2, second.span_id),
    ]


def test_a_span_without_a_stored_parent_is_at_the_left() -> None:
    """A span with an unknown parent is shown at the left, after the earlier ones."""
    spans = list(chain(1, BOOKING[:2], start_ns=START_NS))
    rows = waterfall([spans[0], *spans[3:]])

    assert [(row.depth, row.hop) for row in rows] == [(0, "solo60"), (0, "session → user")]


def test_damaged_spans_are_shown_once() -> None:
    """Spans that are parents of each other or of themselves, and copies of a span, each have one row."""
    root, client, server, *_ = chain(1, start_ns=START_NS)
    circle = [
        replace(client, span_id="a", parent_id="b", kind="INTERNAL"),
        replace(client, span_id="b", parent_id="a", kind="INTERNAL"),
        replace(client, span_id="c", parent_id="c", kind="INTERNAL"),
        replace(client, span_id="d", parent_id="e"),
        replace(server, span_id="e", parent_id="d"),
    ]

    rows = waterfall([root, root, *circle])

    shown = [span.span_id for row in rows for span in (row.span, row.served) if span]
    assert sorted(shown) == sorted([root.span_id, "a", "b", "c", "d", "e"])
    assert waterfall([]) == []


def test_a_deep_trace_has_rows() -> None:
    """A trace of 5,000 nested spans has 5,000 rows, each a level deeper."""
    span = next(chain(1, start_ns=START_NS))
    spans = [replace(span, span_id=f"{n:016x}", parent_id=f"{n - 1:016x}", start_ns=START_NS + n) for n in range(5_000)]

    assert [row.depth for row in waterfall(spans)] == list(range(5_000))
