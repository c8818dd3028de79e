"""Sources of this repository: a copy of them, and the parts that static checks read."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES_OF_SERVICES = sorted((ROOT / "services").rglob("*.py"))


def copy_sources(folder: Path) -> None:
    """Copy tracked and untracked files, but no ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.rstrip("\0").split("\0"):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def name_of(expression: ast.expr) -> str:
    """Return the last name of an expression, or ""."""
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""
