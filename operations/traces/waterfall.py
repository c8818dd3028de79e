"""Waterfall of a trace: its calls in the order of their nesting, as rows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesh.telemetry.spans import CLIENT, SERVER
from operations.traces.summary import name_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mesh.telemetry.spans import StoredSpan


@dataclass(frozen=True, slots=True)
class WaterfallRow:
    """One call or other span in a trace.

    - `depth`: number of rows above in the nesting.
    - `span`: the span; of a call, the client span, or the server span if the client span is not stored.
    - `served`: server span of a call with a client span, or None.
    """

    depth: int
    span: StoredSpan
    served: StoredSpan | None

    @property
    def hop(self) -> str:
        """The calling and the serving service ("session → payment"), or the service of a single span."""
        return f"{self.span.service} → {self.served.service}" if self.served else self.span.service

    @property
    def label(self) -> str:
        """Name of the span. If `hop` names the serving service, the method alone: "GetGym"."""
        label = name_label(self.span.name)
        return label.rpartition("/")[2] if self.served else label

    @property
    def error(self) -> str | None:
        """Error of the call, or None."""
        return self.span.error or (self.served.error if self.served else None)


def waterfall(spans: Sequence[StoredSpan]) -> list[WaterfallRow]:
    """Return the rows of a trace whose spans are ordered by start, each call before the calls that it makes.

    The client span and the server span of a call share a row. A span without a stored parent is a row at the left. Any
    spans can be shown, even if damaged ones are parents of each other.
    """
    known = {span.span_id: span for span in reversed(spans)}
    ordered = sorted(known.values(), key=lambda span: span.start_ns)
    children: dict[str | None, list[StoredSpan]] = defaultdict(list)
    for span in ordered:
        children[span.parent_id if span.parent_id in known else None].append(span)
    rows: list[WaterfallRow] = []
    seen: set[str] = set()
    # Spans in a cycle of parents are below no root. The second part reaches them.
    for root in (*children[None], *ordered):
        _add_rows(rows, root, children, seen)
    return rows


def _add_rows(
    rows: list[WaterfallRow], root: StoredSpan, children: Mapping[str | None, Sequence[StoredSpan]], seen: set[str]
) -> None:
    # A recursive function would fail on a trace with a thousand levels.
    waiting = [(0, root)]
    while waiting:
        depth, span = waiting.pop()
        if span.span_id in seen:
            continue
        below = children.get(span.span_id, ())
        served = _served(span, below)
        seen.update(each.span_id for each in (span, served) if each)
        rows.append(WaterfallRow(depth, span, served))
        below = children.get(served.span_id, ()) if served else below
        waiting.extend((depth + 1, child) for child in reversed(below))


def _served(span: StoredSpan, below: Sequence[StoredSpan]) -> StoredSpan | None:
    """Return the server span of a client span. A call with several attempts has a row for each of them instead."""
    return below[0] if span.kind == CLIENT and len(below) == 1 and below[0].kind == SERVER else None
