"""Link between docs/requirements.md and the requirement markers of the tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
REQUIREMENTS = TESTS.parent / "docs" / "requirements.md"


def test_each_requirement_has_a_test_and_no_test_names_an_unknown_one() -> None:
    """The requirement markers of all tests name exactly the ids in docs/requirements.md."""
    stated = set(re.findall(r"^\| ([A-Z]\d+) \|", REQUIREMENTS.read_text(), re.MULTILINE))

    assert stated
    assert ids_in_markers() == stated


def ids_in_markers() -> set[str]:
    """Return the ids in all `@pytest.mark.requirement(...)` under tests/."""
    trees = (ast.parse(path.read_text()) for path in TESTS.rglob("test_*.py"))
    return {ast.literal_eval(id_) for tree in trees for node in ast.walk(tree) for id_ in marked_ids(node)}


def marked_ids(node: ast.AST) -> list[ast.expr]:
    """Return the arguments of `node` if `node` is a requirement marker, else an empty list."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.requirement":
        return node.args
    return []
