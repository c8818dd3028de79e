"""Spread of a figure over the rounds of a run."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of samples."""

    median: float
    lower_quartile: float
    upper_quartile: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Self:
        """Return the spread of `samples`. Quartiles between two samples are interpolated, as in NumPy."""
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        lower, _, upper = quantiles(samples, n=4, method="inclusive")
        return cls(median(samples), lower, upper)

    @classmethod
    def of_ratios(cls, samples: Sequence[float], base: Sequence[float]) -> Self:
        """Return the spread of the ratios between samples of the same round.

        Raises ValueError if the numbers of rounds differ.
        """
        return cls.of([each / other for each, other in zip(samples, base, strict=True)])
