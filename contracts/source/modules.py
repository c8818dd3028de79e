"""Modules of Python code, parsed without being imported."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from sys import version_info
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.source.names import GeneratedNames


class SourceError(Exception):
    """File that is not Python; the message names the file, the line and the fault."""


@dataclass(frozen=True, slots=True)
class Module:
    """Parsed module. `imports` maps local names to dotted ones, and grows while the module is read."""

    file: str
    tree: ast.Module
    mentions_use: bool
    imports: dict[str, str] = field(default_factory=dict)


def modules_in(folder: Path, generated: GeneratedNames) -> list[Module]:
    """Return the modules of all Python files below `folder`; raise SourceError for a file that is not Python."""
    return [_parse(path, generated) for path in sorted(folder.rglob("*.py"))]


def _parse(path: Path, generated: GeneratedNames) -> Module:
    source = path.read_bytes()
    try:
        tree = ast.parse(source, str(path))
    except (SyntaxError, ValueError) as error:
        line, reason = (error.lineno, error.msg) if isinstance(error, SyntaxError) else (None, str(error))
        place = f"{path}:{line}" if line else str(path)
        raise SourceError(f"{place} is not Python {version_info.major}.{version_info.minor}: {reason}.") from None
    return Module(str(path), tree, generated.mention.search(source) is not None)
