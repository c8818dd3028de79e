from __future__ import annotations

import pytest

from bench.spread import Spread


def test_the_quartiles_are_interpolated_between_samples() -> None:
    """Quartiles are interpolated between sorted samples, as NumPy's percentiles are by default."""
    assert Spread.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(median=3.0, lower_quartile=2.0, upper_quartile=4.0)
    assert Spread.of([1.0, 2.0]) == Spread(median=1.5, lower_quartile=1.25, upper_quartile=1.75)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_a_ratio_compares_samples_of_the_same_round() -> None:
    """A machine that becomes slower changes both samples of a round, so it changes no ratio.

    The ratio of the medians would be 0.65: these rounds have their medians in different rounds.
    """
    base = [1000.0, 800.0, 400.0, 200.0, 600.0]
    row = [700.0, 400.0, 300.0, 150.0, 390.0]

    assert Spread.of_ratios(row, base) == Spread(median=0.7, lower_quartile=0.65, upper_quartile=0.75)


def test_rows_with_different_numbers_of_rounds_have_no_ratio() -> None:
    """Rows that were not measured in the same rounds cannot be compared."""
    with pytest.raises(ValueError, match="longer"):
        Spread.of_ratios([1.0, 2.0], [1.0, 2.0, 3.0])
