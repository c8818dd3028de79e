from __future__ import annotations

import pytest

from bench.spread import Spread
from bench.targets import CPU, RPS, TARGETS, Target, facts_of, spreads_of, verdict

AT_LEAST = Target("least", "a ratio", RPS, "ours", "bare", minimum=0.75)
AT_MOST = Target("most", "a cost", CPU, "ours", "bare", maximum=1.6)
BARE_TARGET = Target("only", "a comparison", RPS, "ours", "bare")


@pytest.mark.parametrize(
    ("target", "spread", "words"),
    [
        (AT_LEAST, Spread(0.8, 0.75, 0.9), "reached"),
        (AT_LEAST, Spread(0.8, 0.74, 0.9), "not reached"),
        (AT_MOST, Spread(1.5, 1.4, 1.6), "reached"),
        (AT_MOST, Spread(1.5, 1.4, 1.61), "not reached"),
        (BARE_TARGET, Spread(0.1, 0.1, 0.1), ""),
    ],
)
def test_the_worse_quartile_decides_whether_a_bar_is_met(target: Target, spread: Spread, words: str) -> None:
    """A minimum is met if the lower quartile meets it, a maximum if the upper one does, whatever the median is."""
    assert verdict(target, spread) == words


def test_an_entry_of_the_figures_has_the_spread_the_bar_and_the_verdict() -> None:
    """The file of figures has the median, both quartiles, the bar and the verdict of each ratio.

    A ratio of calls per second also shows whether one of the two programs waited.
    """
    spread, core_shares = Spread(0.8, 0.7, 0.9), {"ours": 0.98, "bare": 0.6}
    quartiles = {"median": 0.8, "lower_quartile": 0.7, "upper_quartile": 0.9}

    assert facts_of(AT_LEAST, spread, core_shares) == {
        **quartiles,
        "minimum": 0.75,
        "reached": False,
        "least_core_share": 0.6,
    }
    assert facts_of(AT_MOST, spread, core_shares) == {**quartiles, "maximum": 1.6, "reached": True}
    assert facts_of(BARE_TARGET, spread, core_shares) == {**quartiles, "least_core_share": 0.6}


def test_a_target_without_a_base_is_the_figure_of_its_row() -> None:
    """A target without a base shows the samples of its row: five starts of these times."""
    start = Target("start", "a start", "seconds", "new_database", maximum=2.5)

    spreads = spreads_of({"seconds": {"new_database": [2.2, 2.4, 2.3, 3.9, 2.1]}}, [start])

    assert spreads["start"] == Spread(median=2.3, lower_quartile=2.2, upper_quartile=2.4)
    assert verdict(start, spreads["start"]) == "reached"


def test_a_missing_row_is_named() -> None:
    """A run without a row of a target ends with the row's name, also if the whole figure is missing."""
    with pytest.raises(SystemExit, match="bare"):
        spreads_of({RPS: {"ours": [1.0]}}, [AT_LEAST])
    with pytest.raises(SystemExit, match="bare, ours"):
        spreads_of({}, [AT_MOST])


def test_each_target_has_a_name_of_its_own_and_at_most_one_bar() -> None:
    """No target replaces another one in the file of figures or has the same label, and none has two bars."""
    assert len({target.name for target in TARGETS}) == len({target.description for target in TARGETS}) == len(TARGETS)
    assert not [target.name for target in TARGETS if None not in (target.minimum, target.maximum)]
