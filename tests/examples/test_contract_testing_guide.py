"""Guide to contract tests: its examples are parts of tests, recorded files and real failures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.order_states import FOLDER
from tests.examples.test_acme_breakages import BREAKAGES
from tests.examples.test_acme_previous_release import BREAKAGE

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/contract-testing.md").read_text(encoding="utf-8")
TESTS = [
    *(ROOT / "tests/examples").glob("*.py"),
    ROOT / "tests/contracts/test_coverage.py",
    ROOT / "tests/contracts/testing/test_fake_server.py",
    ROOT / "tests/services/subscription/contracts/test_expects_user.py",
]
FAILURES = [*(problem for _, problem in BREAKAGES), BREAKAGE]


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
def test_each_code_block_is_a_part_of_a_test(block: str) -> None:
    """The code in the guide runs with the tests, exactly as it is shown."""
    assert any(block.strip() in path.read_text(encoding="utf-8") for path in TESTS)


@pytest.mark.parametrize("block", re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL))
def test_each_output_is_real(block: str) -> None:
    """Each output is that of a broken provider, or a recorded file."""
    recorded = [path.read_text(encoding="utf-8") for path in FOLDER.glob("*/*.txt")]

    assert set(block.splitlines()) <= set(FAILURES) or any(block in text for text in recorded)


def test_each_kind_of_failure_is_shown() -> None:
    """The guide shows the failure of every broken provider."""
    assert all(problem in GUIDE for problem in FAILURES)
