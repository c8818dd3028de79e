from __future__ import annotations

import re
from pathlib import Path

README = Path("README.md")
PAGE = Path("docs/performance.md")

_SECTION = re.compile(r"<!-- bench \S+ -->\n(.*?)<!-- end -->", re.DOTALL)
_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
_NUMBER = r"\d[\d,]*(?:\.\d+)?"
# A number with two decimals, or with a unit of speed or memory.
_QUOTE = re.compile(rf"\b(?<!Python )(\d+\.\d\d\b|{_NUMBER}(?= ?(?:\u00d7|times|µs|[GM]iB|\w+/s)))")


def measured_sections(page: str) -> str:
    """Return the text of all sections that benchmark runs replace."""
    return "\n".join(_SECTION.findall(page))


def quotes_in(text: str) -> list[str]:
    """Return the figures of performance in a text, without its code."""
    return _QUOTE.findall(_CODE.sub("", text))


def unmeasured(text: str) -> list[str]:
    """Return the figures of performance in a text that no measured section of the page has."""
    measured = set(re.findall(rf"\b{_NUMBER}\b", measured_sections(PAGE.read_text(encoding="utf-8"))))
    return [quote for quote in quotes_in(text) if quote not in measured]


def test_readme_quotes_only_figures_of_the_last_full_run() -> None:
    """Every ratio, speed and amount of memory in README is in a table that the last full run wrote into the page."""
    readme = README.read_text(encoding="utf-8")

    assert unmeasured(readme) == []
    assert len(quotes_in(measured_sections(readme))) > 5


def test_a_figure_that_was_not_measured_is_found() -> None:
    """A ratio, a speed or an amount of memory that no run wrote into the page is found in a text."""
    text = "It is 98.76 of bare, 4321 times as fast, answers 9,876,543 calls/s in 8765 µs and takes 7654 MiB."

    assert unmeasured(text) == ["98.76", "4321", "9,876,543", "8765", "7654"]
    assert unmeasured("Python 3.11 and `sleep 98.76` are no figures, and neither is 30 s.") == []


def test_every_line_of_readme_with_figures_is_a_line_of_the_page() -> None:
    """README repeats whole facts of the page: a label stays beside the figure that was measured for it."""
    page = measured_sections(PAGE.read_text(encoding="utf-8"))
    rows = [
        line
        for line in measured_sections(README.read_text(encoding="utf-8")).splitlines()
        if re.search(r"\d\.\d|MiB", line)
    ]

    assert rows
    for row in rows:
        label, value = (cell.strip() for cell in row.strip("|").split("|"))
        [line] = [line for line in page.splitlines() if line.startswith(f"| {label} |")]
        assert all(figure in line for figure in re.findall(_NUMBER, value))
