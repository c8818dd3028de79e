from __future__ import annotations

import json
import re
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from tests.support.browser import take_screens, visiting
from tests.support.console_process import running_console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

BURST_LINES_PER_S = 5_000
MAX_BURST_S = 60.0
# As in console/static/log_lines.js.
MAX_ROWS = 300
RTL = "\u202e"
HOSTILE = (
    "<script>hacked()</script>",
    "</script><script>hacked()</script>",
    "<img src=x onerror=hacked()>",
    "<svg onload=hacked()>",
    "<svg><script>hacked()</script></svg>",
    "<iframe srcdoc='<script>parent.hacked()</script>'></iframe>",
    "<body onload=hacked()>",
    "<details open ontoggle=hacked()>",
    "<input autofocus onfocus=hacked()>",
    "<style>@import 'http://evil.example/x.css'</style>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<base href=http://evil.example/>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'>",
    "<form action=http://evil.example/><button>click</button></form>",
    '" onmouseover="hacked()" x="',
    "' autofocus onfocus='hacked()",
    "javascript:hacked()",
    "{{ constructor.constructor('hacked()')() }}",
    "${hacked()}",
    "`;hacked();//",
    '"});hacked();//',
    "<!--<img src=x onerror=hacked()>-->",
    "[x](javascript:hacked())",
    "__proto__",
    "&lt;img src=x onerror=hacked()&gt;",
    "\u2028hacked()\u2029",
)


def line(**facts: object) -> str:
    """Return a log line of now."""
    now = datetime.now(UTC).isoformat()
    return json.dumps({"event": "test", "level": "info", "timestamp": now, **facts}) + "\n"


@contextmanager
def log_of(mesh: LocalMesh, name: str) -> Iterator[Callable[..., None]]:
    """Add a log to the mesh, and yield a function that appends lines; delete the log at the end."""
    path = mesh.settings.log_path_of(name)
    path.touch()

    def append(*lines: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(lines)

    try:
        yield append
    finally:
        path.unlink()


def rows(page: Page) -> Locator:
    """Return the lines of the page."""
    return page.locator(".log-row")


def test_a_call_appears_live_and_leads_to_its_lines(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """A line of a new call appears without a reload. Its correlation id leads to all lines of the call."""
    page = visitor.open("/logs?method=gym.ListGyms")
    expect(page.get_by_text("times in UTC")).to_contain_text(re.compile(r"\d+ lines?"))
    before = rows(page).count()
    assert console_mesh.solo60("call", "gym.ListGyms", "{}").returncode == 0

    expect(rows(page)).to_have_count(before + 1)
    row = rows(page).last
    expect(row.locator("summary")).to_contain_text(re.compile(r"\d\d:\d\d:\d\d\.\d{3}\s*gym.*gym\.ListGyms\s*OK.* ms"))
    link = row.locator(".log-links a").first
    correlation_id = str(link.get_attribute("href")).partition("=")[2]
    expect(row.get_by_role("link", name="trace")).to_have_attribute("href", f"/traces?id={correlation_id}")

    link.click()
    page.wait_for_url(f"**/logs?correlation={correlation_id}")
    expect(page.get_by_label("Correlation or trace id")).to_have_value(correlation_id)
    expect(rows(page)).to_have_count(1)
    rows(page).first.locator(".log-event").click()
    expect(page.locator(".log-row .facts")).to_contain_text("solo60.gym.v1.GymService/ListGyms")


def test_the_log_of_the_console_is_among_all_logs(visitor: Visitor) -> None:
    """Without filters, the page shows the lines of all services and of the console itself."""
    page = visitor.open("/logs")

    expect(rows(page).filter(has_text="console").first).to_be_attached()
    expect(rows(page).filter(has_text="gym").first).to_be_attached()
    take_screens(page, "logs")


def test_filters_are_in_the_address(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """The form filters old and new lines, and its address shows the same to somebody else."""
    with log_of(console_mesh, "filtered") as append:
        append(line(event="a stray cat"), line(event="a Cat crashed", level="error", exception="Traceback:\n  Oops"))
        page = visitor.open("/logs")
        page.get_by_label("Service").select_option("filtered")
        page.wait_for_url("**/logs?service=filtered")
        page.get_by_label("Text").fill("cat")
        page.get_by_label("Text").press("Enter")
        page.wait_for_url("**/logs?service=filtered&text=cat")
        expect(rows(page)).to_have_count(2)
        page.get_by_label("Level, at least").select_option("warning")
        page.wait_for_url("**/logs?service=filtered&level=warning&text=cat")
        append(line(event="cat"), line(event="dog", level="critical"), line(event="CAT", level="warning"))

        expect(rows(page).locator(".log-event")).to_have_text(["a Cat crashed", "CAT"])
        rows(page).first.locator(".log-event").click()
        expect(page.locator(".log-exception")).to_have_text("Traceback:\n  Oops")

        other = visitor.open(page.url.removeprefix(visitor.base) + "x")
        expect(other.get_by_text("No line matches")).to_be_visible()
        wrong = visitor.open("/logs?level=loud")
        expect(wrong.get_by_text('level: "loud" is not a level. Use one of debug, ')).to_be_visible()


def test_a_hostile_line_is_text(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """No part of a log line can run a script, load anything, reverse the text or change a link."""
    names = ("event", "level", "service", "exception", "method", "code", "correlation_id", "duration_ms", "timestamp")
    with log_of(console_mesh, "hostile") as append:
        for text in HOSTILE:
            append(line(event="call", **{"method": "a.B/C", **dict.fromkeys(names[4:-1], text), text: text}))
            append(line(**dict.fromkeys(names, text)), f"{text} is not JSON\n")
        append(line(event=f"{RTL}txt.exe \x1b[31mred\x07", note=f"{RTL}\x1b]0;title\x07"))
        page = visitor.open("/logs?service=hostile")

        expect(rows(page)).to_have_count(3 * len(HOSTILE) + 1)
        # Opens all lines, which draws all of their text.
        page.evaluate("document.querySelectorAll('.log-row').forEach((row) => { row.open = true; })")
        expect(page.locator(".log-row .facts")).to_have_count(3 * len(HOSTILE) + 1)
        for text in HOSTILE[:3]:
            expect(rows(page).filter(has_text=f"{text} is not JSON").first).to_be_visible()
        last = rows(page).locator(".log-event", has_text="txt.exe")
        expect(last).to_have_text("\\u202etxt.exe \\x1b[31mred\\x07")
        assert page.evaluate("typeof hacked") == "undefined"
        box = page.locator(".log-box")
        assert box.locator("script, img, svg, iframe, style, link, base, meta, form, input, button").count() == 0
        assert not re.search(r"[\u202a-\u202e\x00-\x08\x1b]", box.inner_text())
        for href in box.locator("a").evaluate_all("links => links.map((each) => each.getAttribute('href'))"):
            assert re.fullmatch(r"/(logs\?correlation|traces\?id)=[\w.~%:-]+", href), href


def test_a_burst_does_not_freeze_the_page(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """During 5,000 lines/s the console answers, the page reacts, and the number of missing lines is shown."""
    with log_of(console_mesh, "burst") as append:
        page = visitor.open("/logs?service=burst")
        with burst(append) as writing:
            expect(page.get_by_text("not shown: narrow the filter")).to_be_visible()
            with urlopen(console_mesh.console_url + "/ready", timeout=5) as answer:  # noqa: S310 - an address of the test
                assert answer.status == 200
            page.get_by_role("button", name="Pause").click()
            expect(page.get_by_role("button", name=re.compile(r"newest \([\d,]+ new lines\)"))).to_be_visible()
            assert rows(page).count() <= MAX_ROWS
            assert writing.is_alive()
        append(line(event="the end"))
        page.get_by_role("button", name="Jump to newest").click()
        expect(rows(page).last.locator(".log-event")).to_have_text("the end")
        expect(rows(page).last).to_be_in_viewport()
        assert rows(page).count() <= MAX_ROWS

        page.locator(".log-box").evaluate("box => { box.scrollTop = 0; }")
        expect(page.get_by_text("paused")).to_be_visible()


@contextmanager
def burst(append: Callable[..., None]) -> Iterator[threading.Thread]:
    """Write BURST_LINES_PER_S lines per second while the context is open, for at most MAX_BURST_S."""
    ends = threading.Event()

    def write() -> None:
        begin_s, written = time.monotonic(), 0
        while written < BURST_LINES_PER_S * MAX_BURST_S and not ends.wait(0.02):
            due = int((time.monotonic() - begin_s) * BURST_LINES_PER_S)
            append(*(line(event=f"line {n}", text="x" * 200) for n in range(written, due)))
            written = due

    writing = threading.Thread(target=write)
    writing.start()
    try:
        yield writing
    finally:
        ends.set()
        writing.join()


def test_a_console_without_logs_says_what_to_do(browser: Browser, console_mesh: LocalMesh, tmp_path: Path) -> None:
    """Beside a deployed mesh there is no log folder. The page says where the logs are."""
    with running_console(console_mesh, data_dir=tmp_path) as console, visiting(browser, console.base) as reader:
        page = reader.open("/logs")

        expect(page.get_by_text("This console has no log folder")).to_be_visible()
        expect(page.get_by_text("OTEL_EXPORTER_OTLP_ENDPOINT")).to_be_visible()
