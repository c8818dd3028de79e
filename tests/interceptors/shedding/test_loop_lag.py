from __future__ import annotations

import asyncio
import time

import pytest

from interceptors.shedding.loop_lag import PERIOD_S, LoopLag


async def sample_of(lag: LoopLag) -> None:
    """Let the loop run until the current sampling ends."""
    while lag.is_sampling:  # noqa: ASYNC110 - only tests wait for it
        await asyncio.sleep(PERIOD_S / 4)


async def test_a_blocked_loop_lags() -> None:
    """Blocking the event loop for 0.1 s beyond the sampling period is measured as a lag of at least 0.09 s."""
    lag, seen_s = LoopLag(), 0.0
    lag.keep_sampling()
    time.sleep(PERIOD_S + 0.1)  # noqa: ASYNC251 - block the event loop

    while lag.is_sampling:
        lag.keep_sampling()
        seen_s = max(seen_s, lag.lag_s)
        if seen_s:
            break
        await asyncio.sleep(0)

    assert seen_s >= 0.09


async def test_sampling_stops_without_calls() -> None:
    """Sampling stops without calls, so that an idle process does not wake up."""
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
def test_a_loop_without_idle_time_is_busy(elapsed_s: float, processor_s: float, turns_s: float, is_busy: bool) -> None:  # noqa: FBT001 - expected value
    """A loop is busy by its processor time, by the duration of its turns, or by its lag."""
    lag = LoopLag()

    lag.add_sample(elapsed_s, processor_s, turns_s)

    assert lag.is_busy is is_busy
    assert lag.lag_s == pytest.approx(max(0, elapsed_s - PERIOD_S))


def test_a_loop_stays_busy_for_five_samples() -> None:
    """A loop stays busy until five samples in a row are not busy, because one sample may fall between two handlers."""
    lag = LoopLag()
    lag.add_sample(0.02, 0.02, 0.0001)

    for is_busy in [True] * 4 + [False]:
        lag.add_sample(0.02, 0.001, 0.0001)
        assert lag.is_busy is is_busy
