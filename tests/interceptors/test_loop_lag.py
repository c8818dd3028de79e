from __future__ import annotations

import asyncio
import time

import pytest

from interceptors.loop_lag import PERIOD_S, LoopLag


async def sample_of(lag: LoopLag) -> None:
    """Let the loop run until the sampling that has begun is over."""
    while lag.is_sampling:  # noqa: ASYNC110 - nobody but a test waits for it
        await asyncio.sleep(PERIOD_S / 4)


async def test_a_loop_that_is_held_up_lags() -> None:
    """What is due waits for whatever holds the loop."""
    lag, seen_s = LoopLag(), 0.0
    lag.keep_sampling()
    time.sleep(PERIOD_S + 0.1)  # noqa: ASYNC251 - that is what holds it up

    while lag.is_sampling:
        lag.keep_sampling()
        seen_s = max(seen_s, lag.lag_s)
        if seen_s:
            break
        await asyncio.sleep(0)

    assert seen_s >= 0.09


async def test_without_calls_it_stops_sampling() -> None:
    """A process that has nothing to do stays asleep."""
    lag = LoopLag()
    lag.keep_sampling()

    await sample_of(lag)

    assert (lag.lag_s, lag.is_busy) == (0.0, False)


@pytest.mark.parametrize(
    ("elapsed_s", "processor_s", "turns_s", "is_busy"),
    [
        (0.020, 0.002, 0.0001, False),
        (0.020, 0.018, 0.0001, True),
        (0.020, 0.001, 0.0120, True),
        (0.030, 0.001, 0.0001, True),
        (0.022, 0.001, 0.0020, False),
    ],
)
def test_a_loop_without_rest_is_busy(elapsed_s: float, processor_s: float, turns_s: float, is_busy: bool) -> None:  # noqa: FBT001 - an expectation
    """By its use of the processor, by what a turn takes where it blocks, by its lag where others have the processor."""
    lag = LoopLag()

    lag.take(elapsed_s, processor_s, turns_s)

    assert lag.is_busy is is_busy
    assert lag.lag_s == pytest.approx(max(0, elapsed_s - PERIOD_S))


def test_it_is_busy_for_a_while() -> None:
    """One sample may fall between two handlers; five may not."""
    lag = LoopLag()
    lag.take(0.02, 0.02, 0.0001)

    for is_busy in [True] * 4 + [False]:
        lag.take(0.02, 0.001, 0.0001)
        assert lag.is_busy is is_busy
