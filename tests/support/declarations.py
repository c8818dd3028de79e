"""Declarations of the contracts that a complete run of the tests must see: outcomes of methods, and edges.

Each worker sends the declarations that it saw to the main process, which fails a complete run if one is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.edges import edges_of_this_process, missing_edges
from tests.support.outcomes import missing_outcomes, outcomes_of_this_process

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    Seen = set[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Declarations:
    """Declarations of one kind: those that this process saw, and a line for each one that is not in a set."""

    title: str
    of_this_process: Callable[[], set[Any]]
    missing: Callable[[set[Any]], list[str]]


DECLARATIONS = (
    Declarations("declared outcomes without a test", outcomes_of_this_process, missing_outcomes),
    Declarations("declared calls never seen", edges_of_this_process, missing_edges),
)


def is_complete(config: pytest.Config) -> bool:
    """Return whether a run selects every test that serves methods in its own process."""
    options = config.option
    return (
        config.args_source is config.ArgsSource.TESTPATHS
        and not options.keyword
        and options.markexpr in ("", "not system")
        and not getattr(options, "lf", False)
    )
