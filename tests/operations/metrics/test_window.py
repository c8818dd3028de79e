from __future__ import annotations

import math

import pytest

from operations.metrics.reading import SERVER, Bucket, NotMetrics, Outcome, Reading, reading_of
from operations.metrics.window import Window
from tests.operations.metrics.pages import CHARGE, GET_GYM, ServicePage

OK = Outcome(SERVER, GET_GYM, "OK", "", "session")
WINDOW_S = 30.0


def reading(value: float, start_time_s: float = 1.0) -> Reading:
    """Return a reading with one counter."""
    return Reading(start_time_s, {OK: value})


def test_the_page_of_a_service_is_read() -> None:
    """A reading has the outcomes by caller, the buckets, the calls in flight and the breakers of a real page."""
    page = ServicePage(7.0, {CHARGE: "half-open"}).answered(GET_GYM, ("NOT_FOUND", "GYM_NOT_FOUND", "session"))
    found = reading_of(page.called(CHARGE, ("OK", ""), unfinished=2).text())

    assert found.start_time_s == 7
    assert found.counters[Outcome("server", GET_GYM, "NotFound", "GYM_NOT_FOUND", "session")] == 1
    assert found.counters[Outcome("client", CHARGE, "OK", "", "")] == 1
    assert found.counters[Bucket("client", CHARGE, math.inf)] == 1
    assert found.in_flight["client", CHARGE] == 2
    assert found.breakers == {CHARGE: "half-open"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>It works!</html>",
        "up 1\n",
        "process_start_time_seconds x\n",
        'process_start_time_seconds 1\ngrpc_server_handled_total{grpc_code="OK"} 1\n',
    ],
)
def test_another_page_is_rejected(text: str) -> None:
    """A page of another program, or one that is damaged, is no page of a service."""
    with pytest.raises(NotMetrics, match="not a Prometheus page of a service"):
        reading_of(text)


def test_one_reading_has_no_increase() -> None:
    """Calls before the first reading are not counted, because their time is unknown."""
    window = Window(WINDOW_S)
    window.add(reading(100), 0.0)

    assert window.span_s == 0
    assert not window.increases()


def test_increases_add_up_within_the_window() -> None:
    """The increase is the sum of all readings in the window, and older readings leave it."""
    window = Window(WINDOW_S)
    for second, value in [(0, 100), (10, 110), (20, 130), (40, 135)]:
        window.add(reading(value), float(second))

    assert window.span_s == 30
    assert window.increases() == {OK: 25}


def test_a_new_counter_begins_at_zero() -> None:
    """A counter that appears between two readings of a process counts from zero."""
    window = Window(WINDOW_S)
    window.add(Reading(1.0), 0.0)
    window.add(reading(3), 2.0)

    assert window.increases() == {OK: 3}


@pytest.mark.parametrize("value", [4, 400])
def test_a_restart_begins_at_zero(value: float) -> None:
    """After a restart, a counter counts from zero, also if it has passed its old value. Earlier calls stay counted."""
    window = Window(WINDOW_S)
    window.add(reading(100), 0.0)
    window.add(reading(110), 2.0)
    window.add(reading(value, start_time_s=2.0), 4.0)

    assert window.increases() == {OK: 10 + value}


def test_a_counter_that_falls_begins_at_zero() -> None:
    """A counter that falls within the same process was reset too."""
    window = Window(WINDOW_S)
    window.add(reading(100), 0.0)
    window.add(reading(4), 2.0)

    assert window.increases() == {OK: 4}


def test_a_pause_longer_than_the_window_begins_a_new_one() -> None:
    """When nobody looked for longer than the window, the rate of that time is not the rate of now."""
    window = Window(WINDOW_S)
    window.add(reading(100), 0.0)
    window.add(reading(110), 2.0)
    window.add(reading(9_000), 2.0 + WINDOW_S + 1)

    assert not window.increases()
    window.add(reading(9_001), 2.0 + WINDOW_S + 3)
    assert window.increases() == {OK: 1}


def test_a_page_that_cannot_be_read_leaves_the_window_in_time() -> None:
    """Old calls of a service that is down do not stay in its numbers."""
    window = Window(WINDOW_S)
    window.add(reading(100), 0.0)
    window.add(reading(110), 2.0)
    window.expire(31.0)

    assert not window.increases()


def test_empty_buckets_of_a_called_method_stay_known() -> None:
    """Buckets without calls are the lower bounds of the others, so a quantile needs them."""
    window = Window(WINDOW_S)
    buckets: dict[Outcome | Bucket, float] = {Bucket(SERVER, GET_GYM, bound): 0.0 for bound in (0.1, 0.25, math.inf)}
    window.add(Reading(1.0, buckets), 0.0)
    assert not window.increases()
    later = buckets | {Bucket(SERVER, GET_GYM, bound): 1.0 for bound in (0.25, math.inf)}
    window.add(Reading(1.0, later), 2.0)

    assert window.increases()[Bucket(SERVER, GET_GYM, 0.1)] == 0
    assert Bucket(SERVER, GET_GYM, 0.1) in window.increases()
