from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.measure import Figures, Table
from bench.report import Run, write_json, write_page
from bench.targets import TARGETS

PAGE = Path("docs/performance.md")


def a_row(name: str, rps: float = 100) -> Figures:
    """Return a row of the table."""
    return Figures(name, f"the row {name}", rps, p50_ms=1, p99_ms=2, server_cpu_us=300, refused=0)


def a_run(rows: list[Figures]) -> Run:
    """Return a run with these rows."""
    client = {"stub_rps": 100.0, "chain_rps": 80.0, "stub_cpu_us": 90.0, "chain_cpu_us": 120.0}
    policies = {0: {"none": 7.0, "ServerErrors": 0.5, "all": 40.0}}
    return Run({"processor": "a fast one"}, Table(rows, {"slow": "It did not start"}), policies, client, {"ours": {}})


def all_rows() -> list[Figures]:
    """Return every row that a target needs."""
    names = {name for target in TARGETS for name in (target.row, target.base)} - {"chain", "stub"}
    return [a_row(name) for name in sorted(names)]


def test_write_page_replaces_every_measured_section(tmp_path: Path) -> None:
    """Writing the page replaces its measured sections and keeps the text between them.

    Writing it twice gives the same page.
    """
    page = tmp_path / "performance.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_page(a_run(all_rows()), page)
    first = page.read_text(encoding="utf-8")
    write_page(a_run(all_rows()), page)

    assert page.read_text(encoding="utf-8") == first
    assert "## How it is measured" in first
    for fact in ("a fast one", "the row bare_aio", "It did not start", "not reached", "`ServerErrors`", "plain stub"):
        assert fact in first


def test_the_figures_file_names_every_row_and_ratio(tmp_path: Path) -> None:
    """The JSON file of figures names every row and every ratio of a target."""
    write_json(
        a_run([a_row("bare_aio", 50), *(row for row in all_rows() if row.name != "bare_aio")]), tmp_path / "b.json"
    )
    figures = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))

    assert figures["ratios"].keys() == {target.name for target in TARGETS}
    assert figures["ratios"]["native_full_10_vs_bare"] == 2
    assert figures["ratios"]["client_chain_vs_stub"] == 0.8
    assert {"name", "rps", "p50_ms", "p99_ms", "server_cpu_us"} <= figures["rows"][0].keys()


def test_a_run_without_a_required_row_is_rejected(tmp_path: Path) -> None:
    """Writing the figures fails if a row that a target needs is missing, because its ratio was not measured."""
    with pytest.raises(SystemExit, match="naive"):
        write_json(a_run([row for row in all_rows() if row.name != "naive"]), tmp_path / "b.json")
