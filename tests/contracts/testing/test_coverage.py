from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.edges import Edge, EdgeKind
from contracts.method import find_method
from contracts.testing import Coverage, Expectation, Kind

if TYPE_CHECKING:
    from contracts.testing.coverage import ErrorOfEdge

QUOTE = "solo60.gym.v1.GymService/QuotePrice"
EDGE = Edge("acme.shop.v1.ShopService/Buy", QUOTE, EdgeKind.CALL)
NAMES = ("shop", "gym", "QuotePrice")
REASONS: dict[ErrorOfEdge, str] = {(*NAMES, "GYM_CLOSED"): "The shop is open all day."}


def expectation(state: str, error: str = "", *, consumer: str = "shop", kind: Kind = Kind.CALLS) -> Expectation:
    """Return an expectation on QuotePrice."""
    return Expectation(consumer, find_method(f"/{QUOTE}"), state, kind, deadline_s=1.0, requests=(), error=error)


COVERED = [expectation("an open gym"), expectation("no gym", "GYM_NOT_FOUND")]


def test_a_covered_edge_has_no_problem() -> None:
    """An edge needs an expectation of success, and one of each declared error, or a reason."""
    assert Coverage([EDGE], COVERED, REASONS).problems() == []


def test_the_table_shows_the_states_and_reasons_of_each_edge() -> None:
    """Rows are sorted, and unite the callers of one consumer."""
    later = Edge("acme.shop.v1.ShopService/Remind", QUOTE, EdgeKind.LATER)
    early = Edge("acme.bar.v1.BarService/Pour", QUOTE, EdgeKind.LATER)

    _, _, *rows = Coverage([EDGE, later, early], COVERED, REASONS).table().splitlines()

    errors = "GYM_NOT_FOUND: no gym<br>GYM_CLOSED: The shop is open all day."
    assert rows == [
        "| bar | gym | QuotePrice | calls_later | missing | GYM_CLOSED, GYM_NOT_FOUND: missing |",
        f"| shop | gym | QuotePrice | calls, calls_later | an open gym | {errors} |",
    ]


def test_an_edge_without_expectations_is_reported() -> None:
    """Missing success and each missing error are reported."""
    assert Coverage([EDGE], [], REASONS).problems() == [
        "shop -> gym QuotePrice has no expectation of GYM_NOT_FOUND, which the contract lists, and no reason for that.",
        "shop -> gym QuotePrice has no expectation of success.",
    ]


def test_an_expectation_without_an_edge_is_reported() -> None:
    """No contract of the consumer lists the method, or only in another option."""
    by_other = expectation("an open gym", consumer="bar")
    later = expectation("a gym that opens tomorrow", kind=Kind.CALLS_LATER)

    assert Coverage([EDGE], [*COVERED, by_other, later], REASONS).problems() == [
        f"bar, given an open gym: {QUOTE}: no contract of bar lists this method in `calls`.",
        f"shop, given a gym that opens tomorrow: {QUOTE}: no contract of shop lists this method in `calls_later`.",
    ]


def test_a_reason_without_need_is_reported() -> None:
    """A reason is left over if the error is expected, or if no edge has the error."""
    reasons = {**REASONS, (*NAMES, "GYM_NOT_FOUND"): "Never.", (*NAMES, "SLOT_TAKEN"): "Never."}

    assert Coverage([EDGE], COVERED, reasons).problems() == [
        "shop -> gym QuotePrice: GYM_NOT_FOUND has a reason for no expectation, but is expected.",
        "shop -> gym QuotePrice: SLOT_TAKEN has a reason for no expectation, but no contract lists this error.",
    ]
