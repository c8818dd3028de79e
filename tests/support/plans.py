"""Plans of the statements that a server executes, from auto_explain in its log."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.postgres import execute

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Superusers may set parameters of a module only after it is loaded.
EXPLAIN_EVERYTHING = (
    "load 'auto_explain'",
    "alter system set session_preload_libraries = 'auto_explain'",
    "alter system set auto_explain.log_min_duration = 0",
    "alter system set auto_explain.log_analyze = on",
    "alter system set auto_explain.log_timing = off",
    "alter system set auto_explain.log_format = json",
    # Statements of triggers and functions too.
    "alter system set auto_explain.log_nested_statements = on",
    "select pg_reload_conf()",
)
PLAN = re.compile(r"LOG:  duration: [0-9.]+ ms  plan:$")


@dataclass(frozen=True, slots=True)
class Scan:
    """Scan of a table or index in the plan of one execution, with the number of rows that it has read."""

    statement: str
    kind: str
    table: str
    index: str
    rows_read: float

    def __str__(self) -> str:
        """Return the scan and its statement on one line."""
        index = f" by {self.index}" if self.index else ""
        return f"{self.kind} of {self.table}{index}, {self.rows_read:.0f} rows: {' '.join(self.statement.split())}"


async def explain_everything(superuser_url: str) -> None:
    """Make the server log the plan of each statement on connections that are opened from now on."""
    await execute(superuser_url, *EXPLAIN_EVERYTHING)


def scans_in(log: Path, begin: int) -> list[Scan]:
    """Return the scans of all statements in a server's log from the byte `begin` on."""
    text = log.read_bytes()[begin:].decode(errors="replace")
    return [scan for plan in _plans_in(text) for scan in _scans_of(plan["Query Text"], plan["Plan"], "")]


def _plans_in(text: str) -> Iterator[dict[str, Any]]:
    lines: list[str] | None = None
    for line in text.splitlines():
        # The further lines of a message begin with a tab.
        if lines is not None and line.startswith("\t"):
            lines.append(line)
            continue
        if lines is not None:
            yield json.loads("\n".join(lines))
        lines = [] if PLAN.search(line) else None
    if lines is not None:
        yield json.loads("\n".join(lines))


def _scans_of(statement: str, node: dict[str, Any], table: str) -> Iterator[Scan]:
    table = node.get("Relation Name", table)
    if node["Node Type"].endswith(("Seq Scan", "Index Scan", "Index Only Scan", "Heap Scan")):
        removed = sum(node.get(f"Rows Removed by {each}", 0) for each in ("Filter", "Index Recheck"))
        rows = (node["Actual Rows"] + removed) * node["Actual Loops"]
        yield Scan(statement, node["Node Type"], table, node.get("Index Name", ""), rows)
    for child in node.get("Plans", ()):
        yield from _scans_of(statement, child, table)
