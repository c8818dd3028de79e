from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.measure import Figures as Row
from bench.measure import Table, Window, samples_of
from bench.page import fill_section
from bench.report import QUOTED, write_page, write_readme
from bench.run import CLIENTS, Run, write_json
from bench.startup import OTHERS
from bench.targets import CPU, PSS, RPS, START, TARGETS

PAGE = Path("docs/performance.md")
README = Path("README.md")
# Calls per second in five rounds. The machine is slower in some of them.
BARE = (1000.0, 1000.0, 500.0, 800.0, 1000.0)
NATIVE = (4100.0, 3900.0, 2100.0, 3360.0, 4000.0)
CPU_US = 300.0


def a_run(*, without: str = "", busy: str = "") -> Run:
    """Return a run with every row that a target needs, except `without`; all but `busy` use little of their core."""
    names = {name for target in TARGETS if target.figure in (RPS, CPU) for name in target.rows} - CLIENTS.keys()
    windows = {
        name: [
            Window(rps, 1e6 / rps if name == busy else CPU_US, refused=0)
            for rps in (NATIVE if name == "native_10" else BARE)
        ]
        for name in sorted(names - {without})
    }
    rows = [
        Row(name, f"the row {name}", BARE[0], p50_ms=1, p99_ms=2, server_cpu_us=CPU_US, refused=0, exported=0.97)
        for name in windows
    ]
    client = [
        {"stub_rps": rps, "chain_rps": rps * 0.8, "connectrpc_rps": rps * 0.4, "pyqwest_rps": rps * 0.7}
        | {f"{name}_cpu_us": 90.0 for name in CLIENTS}
        for rps in BARE
    ]
    startup = {
        "healthy_s": {"new_database": [2.0, 3.0], "existing_database": [1.0, 1.5]},
        "pss_mib": {"gym": [40.0, 41.0], "auth": [50.0, 51.0], OTHERS: [120.0, 121.0]},
        "rss_mib": {"gym": [80.0, 81.0], "auth": [90.0, 91.0], OTHERS: [180.0, 181.0]},
    }
    policies = {0: {"none": 7.0, "ServerErrors": 0.5, "all": 40.0}}
    steps = {"grpcio, 0 % traced": {"ServerDeadline": 2.04, "ServerTracing": 5.06}}
    table = Table(rows, samples_of(windows), {"slow": "It did not start"})
    return Run({"processor": "a fast one"}, table, policies, client, {"ours": {}}, steps, startup)


def written(run: Run, folder: Path) -> dict[str, object]:
    """Return the file of figures of a run."""
    path = folder / "bench.json"
    write_json(run, path)
    figures: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return figures


@pytest.mark.parametrize(("original", "write"), [(PAGE, write_page), (README, write_readme)])
def test_a_run_replaces_every_measured_section(original: Path, write: object, tmp_path: Path) -> None:
    """Writing a document replaces its measured sections and keeps the text between them.

    Writing it twice gives the same document.
    """
    assert callable(write)
    page = tmp_path / original.name
    page.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    write(a_run(), page)
    first = page.read_text(encoding="utf-8")
    write(a_run(), page)

    assert page.read_text(encoding="utf-8") == first
    assert len(first.splitlines()) > 200
    facts = {
        PAGE: ("a fast one", "the row bare_aio", "It did not start", "not reached", "`ServerErrors`", "plain stub"),
        README: ("| native, 10 % traced, to bare grpc.aio | 4.10 (4.00 to 4.20) |", "2.5 s (2.0 to 3.0)", "| 91 MiB |"),
    }
    for fact in facts[original]:
        assert fact in first


def test_every_figure_of_the_summary_is_on_the_page(tmp_path: Path) -> None:
    """The ratios that README quotes are in the page of the same run, with the same label."""
    page, readme = tmp_path / "page.md", tmp_path / "README.md"
    for path, original in ((page, PAGE), (readme, README)):
        path.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    write_page(a_run(), page)
    write_readme(a_run(), readme)
    labels = [target.description for target in TARGETS if target.name in QUOTED]

    assert len(labels) == len(QUOTED)
    for label in labels:
        assert f"| {label} |" in page.read_text(encoding="utf-8")
        assert f"| {label} |" in readme.read_text(encoding="utf-8")


def test_a_section_that_a_page_lacks_is_named(tmp_path: Path) -> None:
    """A section is never appended to a page by mistake: its markers must be there."""
    page = tmp_path / "page.md"
    page.write_text("# Page\n", encoding="utf-8")

    with pytest.raises(ValueError, match="no section called rows"):
        fill_section(page, "rows", "text")
    assert page.read_text(encoding="utf-8") == "# Page\n"


def test_the_figures_file_has_the_spread_of_each_ratio(tmp_path: Path) -> None:
    """The JSON file has the median, the quartiles, the bar and the verdict of each target's ratio within rounds."""
    figures = written(a_run(), tmp_path)
    ratios = figures["ratios"]
    assert isinstance(ratios, dict)

    assert ratios.keys() == {target.name for target in TARGETS}
    assert ratios["native_full_10_vs_bare"] == {
        "median": 4.1,
        "lower_quartile": 4.0,
        "upper_quartile": 4.2,
        "minimum": 4.0,
        "reached": True,
        "least_core_share": pytest.approx(0.3),
    }
    assert ratios["client_chain_vs_stub"]["median"] == pytest.approx(0.8)
    assert ratios["pss_mib_per_service"] == {
        "median": 45.5,
        "lower_quartile": 40.75,
        "upper_quartile": 50.25,
        "maximum": 45.0,
        "reached": False,
    }
    assert ratios["healthy_new_database_s"]["upper_quartile"] == 2.75
    assert figures["rounds"] == len(BARE)


def test_the_figures_file_names_every_row(tmp_path: Path) -> None:
    """The JSON file has the figures and the ratio to bare grpc.aio of every row, and the medians of the clients."""
    figures = written(a_run(), tmp_path)
    rows = figures["rows"]
    assert isinstance(rows, list)

    assert {"name", "rps", "p50_ms", "p99_ms", "server_cpu_us", "ratio_to_bare"} <= rows[0].keys()
    assert {row["name"]: row["ratio_to_bare"]["median"] for row in rows}["native_10"] == 4.1
    assert figures["client"]["stub_rps"] == 1000  # type: ignore[index]  # the file is not typed


def test_a_run_without_a_required_row_is_rejected(tmp_path: Path) -> None:
    """Writing the figures fails if a row that a target needs is missing, because its ratio was not measured."""
    with pytest.raises(SystemExit, match="naive"):
        written(a_run(without="naive"), tmp_path)


def test_a_program_that_waited_is_named(tmp_path: Path) -> None:
    """The page names the programs that used less than 90 % of their core, and the spans that got lost."""
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_page(a_run(busy="bare_aio"), page)
    lines = page.read_text(encoding="utf-8").splitlines()
    [waited, _of_clients] = [line for line in lines if line.startswith("These programs waited")]

    assert "the row grpcio_10 (30%)" in waited
    assert "bare_aio (" not in waited
    assert "| 4.10 | 4.00 to 4.20 | reached, with waiting programs |" in page.read_text(encoding="utf-8")
    assert "Spans that reached the collector: 97.0% (the row bare_aio)" in page.read_text(encoding="utf-8")


def test_a_run_has_the_samples_of_every_figure() -> None:
    """A run's samples have one value for each round, service and start."""
    samples = a_run().samples

    assert samples.keys() == {RPS, CPU, PSS, START}
    assert samples[RPS]["bare_aio"] == list(BARE)
    assert sorted(samples[PSS]["services"]) == [40.0, 41.0, 50.0, 51.0]
