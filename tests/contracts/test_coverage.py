"""Coverage of the edges between our services, in docs/contract-coverage.md."""

from __future__ import annotations

import pytest

from contracts.edges import edges_of
from contracts.services import SERVICES
from contracts.testing import Coverage, read_expectations
from tests.contracts.not_expected import NOT_EXPECTED
from tests.support.consumers import EXPECTATIONS_FOLDER
from tests.support.sources import ROOT

EDGES = edges_of(method for service in SERVICES.values() for method in service.methods)
COVERAGE = Coverage(EDGES, read_expectations(EXPECTATIONS_FOLDER), NOT_EXPECTED)
TABLE = ROOT / "docs/contract-coverage.md"
COMMAND = "pytest tests/contracts/test_coverage.py --update-expectations"
HEAD = f"""\
# Coverage of the contract tests

Each row is an edge of the call graph: a consumer, and a method that it calls by its contract. A state is a sentence
about the provider. In this state, a test of the consumer has recorded its expectation, and a test of the provider
replays it. A declared error without a state has a reason instead. [contract-testing.md](contract-testing.md) explains
these tests.

This file is generated. Do not edit it; run `{COMMAND}`.

"""


def test_each_edge_has_expectations_of_success_and_of_each_declared_error() -> None:
    """An error may have a reason in NOT_EXPECTED instead. No expectation and no reason is without an edge."""
    problems = COVERAGE.problems()

    assert not problems, "\n".join(problems)


def test_the_table_of_the_coverage_is_up_to_date(pytestconfig: pytest.Config) -> None:
    """The table in docs/ shows the expectations in the files."""
    if pytestconfig.getoption("--update-expectations"):
        TABLE.write_text(HEAD + COVERAGE.table(), encoding="utf-8")

    assert TABLE.read_text(encoding="utf-8") == HEAD + COVERAGE.table(), f"Run: {COMMAND}"


@pytest.mark.parametrize("provider", sorted({path.name.partition("-")[2] for path in EXPECTATIONS_FOLDER.iterdir()}))
def test_the_provider_of_each_expectation_replays_it(provider: str) -> None:
    """Each provider has a module that replays the expectations of its consumers."""
    assert (ROOT / f"tests/services/{provider}/contracts/test_provider.py").exists()
