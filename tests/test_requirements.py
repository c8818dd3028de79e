"""The link between docs/requirements.md and the tests that prove each requirement."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
REQUIREMENTS = TESTS.parent / "docs" / "requirements.md"


def test_each_requirement_has_a_test_and_no_test_names_an_unknown_one() -> None:
    """The ids in docs/requirements.md and those in the markers of the tests are the same."""
    stated = set(re.findall(r"^\| ([A-Z]\d+) \|", REQUIREMENTS.read_text(), re.MULTILINE))

    assert stated
    assert ids_in_markers() == stated


def ids_in_markers() -> set[str]:
    """Return every id that some `@pytest.mark.requirement(...)` in tests/ names."""
    trees = (ast.parse(path.read_text()) for path in TESTS.rglob("test_*.py"))
    return {ast.literal_eval(id_) for tree in trees for node in ast.walk(tree) for id_ in marked_ids(node)}


def marked_ids(node: ast.AST) -> list[ast.expr]:
    """Return the arguments of `node` if it calls the marker, else none."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.requirement":
        return node.args
    return []
