"""Pages of traces: calls of the running mesh, and a console of its own with 10,000 made-up traces."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.browser import take_screens, visiting
from tests.support.console_process import running_console
from tests.support.stored_traces import BOOKING, chain, write_many, write_spans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system
NUMBER = 10_000
END_NS = 1_790_000_000 * 1_000_000_000
MARKUP = (
    "<script>hit()</script>",
    "<img src=x onerror=hit()>",
    "<svg onload=hit()>",
    "<iframe srcdoc='<script>parent.hit()</script>'>",
    "<a href=javascript:hit()>x</a>",
    "<details open ontoggle=hit()>",
    "<style>@import 'http://evil.example/x.css';</style>",
    "<base href=http://evil.example/>",
    "<meta http-equiv=refresh content=0;url=http://evil.example/>",
    "<form action=javascript:hit()><button>x</button></form>",
    "</script><script>hit()</script>",
    "</textarea></title><script>hit()</script>",
    "--><script>hit()</script><!--",
    "{{ constructor.constructor('hit()')() }}",
    "${hit()}",
    "`+hit()+`",
    "';hit();'",
    '";hit();"',
    '" onmouseover="hit()" x="',
    "javascript:hit()",
    "\\u003cscript\\u003ehit()\\u003c/script\\u003e",
    "\u2028hit()//",
    "[x](javascript:hit())",
    ":value=hit()",
)


@pytest.fixture(scope="module")
def base(console_mesh: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a console with 10,000 traces, and with the hostile ones as the latest."""
    data_dir = tmp_path_factory.mktemp("data")
    write_many(data_dir / "spans", NUMBER, END_NS)
    write_hostile_call(data_dir)
    with running_console(console_mesh, data_dir=data_dir) as console:
        yield console.base


def write_hostile_call(data_dir: Path) -> None:
    """Write a trace with each text of MARKUP in each value, and the log of its call."""
    root, client, server = chain(NUMBER, BOOKING[:1], start_ns=END_NS + 1)
    attributes = {text: text for text in MARKUP} | {"solo60.list": list(MARKUP)}
    hostile = [
        replace(server, span_id=f"x{text}", name=f"{text}/{text}", service=text, error=text, caller=text)
        for text in MARKUP
    ]
    event = {"name": MARKUP[0], "time_ns": server.start_ns, "attributes": attributes}
    write_spans(data_dir / "spans", [root, replace(client, error="".join(MARKUP))])
    with (data_dir / "spans" / "gym.jsonl").open("a") as file:
        for span in (*hostile, server):
            facts = {key: getattr(span, key) for key in span.__slots__} | {"attributes": attributes, "events": [event]}
            file.write(json.dumps(facts) + "\n")
    (data_dir / "logs").mkdir()
    with (data_dir / "logs" / "session.jsonl").open("w") as file:
        at = datetime.fromtimestamp(END_NS / 1e9 + 0.01, UTC).isoformat()
        for text in MARKUP:
            line = {"timestamp": at, "correlation_id": server.correlation_id, "event": text, "level": "error"}
            file.write(json.dumps(line | {text: text, "exception": text}) + "\n")


@pytest.fixture
def reader(browser: Browser, base: str) -> Iterator[Visitor]:
    """Return a reader of the console with 10,000 traces."""
    with visiting(browser, base, locale="en-GB") as found:
        yield found


def rows(page: Page) -> Locator:
    """Return the rows of the list of traces."""
    return page.locator("table.traces tbody tr")


def open_hostile(reader: Visitor) -> Page:
    """Open the hostile trace, with a function that no script may call."""
    page = reader.context.new_page()
    page.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1; };")
    reader.go(page, f"/traces/{next(chain(NUMBER, start_ns=1)).trace_id}")
    return page


def test_ten_thousand_traces_appear_within_a_second(reader: Visitor) -> None:
    """The list is in the browser within one second, also with filters and on a late page."""
    page = reader.open("/traces")
    expect(rows(page)).to_have_count(50)
    expect(page.get_by_text(f"1 to 50 of {NUMBER + 1:,} traces")).to_be_visible()
    # Another display would take the cells out of the table's rows.
    expect(page.locator("td.start").first).to_have_css("display", "table-cell")
    for path in ("/traces?page=2", "/traces?errors=1", "/traces?method=payment.Charge&slower_ms=200"):
        reader.go(page, path)
        expect(rows(page)).to_have_count(50)
    take_screens(page, "traces")

    # Other tests may take the processor for a while, so one quick visit of several is enough.
    assert any(seconds_until_rows(page, reader.base + "/traces") < 1 for _ in range(12))


def seconds_until_rows(page: Page, url: str) -> float:
    """Return the time in seconds until the browser shows the rows of a list."""
    started_s = time.perf_counter()
    page.goto(url, wait_until="commit")
    rows(page).first.wait_for()
    return time.perf_counter() - started_s


def test_the_filters_are_in_the_address(reader: Visitor) -> None:
    """A filter leads to a short address, and the address shows the filter and its traces."""
    page = reader.open("/traces")
    page.get_by_label("method").fill("session.BookSession")
    page.get_by_label("method").press("Enter")
    expect(page).to_have_url(f"{reader.base}/traces?method=session.BookSession")
    page.get_by_label("only errors").check()
    expect(page).to_have_url(f"{reader.base}/traces?method=session.BookSession&errors=1")
    expect(page.get_by_text("of 1,001 traces")).to_be_visible()
    page.get_by_label("service").select_option("payment")
    expect(page.get_by_text("No stored trace meets these conditions.")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    expect(page).to_have_url(f"{reader.base}/traces")
    page.get_by_label("from (UTC)").fill("2026-09-21T14:13:15")
    page.get_by_role("button", name="Filter").click()

    expect(page).to_have_url(f"{reader.base}/traces?from=2026-09-21T14%3A13%3A15")
    expect(page.get_by_label("from (UTC)")).to_have_value("2026-09-21T14:13:15")
    expect(page.get_by_text("1 to 50 of 51 traces")).to_be_visible()


def test_pages_lead_to_older_traces(reader: Visitor) -> None:
    """The list has pages with addresses of their own, which keep the filter."""
    page = reader.open("/traces?service=payment")
    page.get_by_role("link", name="Older").click()
    expect(page).to_have_url(f"{reader.base}/traces?service=payment&page=2")
    expect(page.get_by_text("51 to 100 of 4,000 traces")).to_be_visible()
    page.get_by_role("link", name="Newer").click()

    expect(page).to_have_url(f"{reader.base}/traces?service=payment")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/traces?slower_ms=fast", "slower_ms: give milliseconds, such as 100."),
        ("/traces?page=999", "There is no page 999."),
        ("/traces?caller=nobody", "No stored trace meets these conditions."),
        ("/traces/nowhere", "There is no trace nowhere."),
        ("/traces/%3Cscript%3Ehit()", "There is no trace <script>hit()."),
    ],
)
def test_a_page_without_traces_says_why(reader: Visitor, path: str, sentence: str) -> None:
    """An empty list, an invalid address and an unknown id are explained."""
    expect(reader.open(path).get_by_text(sentence)).to_be_visible()


def test_a_hostile_trace_runs_no_script(reader: Visitor) -> None:
    """No text in a span or a log line becomes markup or script: every text is shown as it is."""
    page = open_hostile(reader)
    details = page.get_by_label("Details of the call")
    calls = page.locator("button.call")
    expect(calls).to_have_count(len(MARKUP) + 3)
    for number in range(2, calls.count(), 6):
        calls.nth(number).click()
        expect(calls.nth(number)).to_have_attribute("aria-pressed", "true")
        expect(details.get_by_role("heading", name=re.compile("^Log of"))).to_be_visible()
        assert [text for text in MARKUP if text.strip() not in (details.text_content() or "")] == []
    page.get_by_role("button", name="SessionService/BookSession").last.click()
    expect(details.locator(".log-line")).to_have_count(len(MARKUP))
    for text in MARKUP:
        assert (details.locator(".log-lines").text_content() or "").count(text) >= 3
    take_screens(page, "trace-hostile")
    reader.go(page, "/traces")
    expect(rows(page).first).to_contain_text(MARKUP[0])

    assert page.evaluate("window.hits") == 0
    assert page.locator("main script, main img, main iframe, main base, main meta, main style").count() == 0


def test_a_call_of_the_mesh_is_shown_with_its_logs(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """The waterfall of a booking shows each hop. A click shows the call's attributes and the log lines beside it."""
    booked = json.loads(console_mesh.solo60("demo", "booking", "--json").stdout)["steps"][0]
    page = visitor.open(f"/traces/{booked['trace_id']}")
    call = page.get_by_role("button", name=re.compile("session → payment"))
    call.click()
    details = page.get_by_label("Details of the call")

    expect(details.get_by_role("heading", name="payment.ChargeSession")).to_be_visible()
    expect(details.get_by_text("Attributes of the server span, payment")).to_be_visible()
    expect(details.locator(".log-line")).to_contain_text(["payment.ChargeSession OK"])
    expect(page).to_have_url(re.compile(r"\?span=[0-9a-f]{16}$"))
    assert details.get_by_text("solo60.payment.v1.PaymentService/ChargeSession").count() == 2
    take_screens(page, "trace")
    page.reload()
    expect(details.get_by_role("heading", name="payment.ChargeSession")).to_be_visible()
    expect(call).to_have_attribute("aria-pressed", "true")


def test_new_traces_are_announced(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """A list stays as it is while somebody reads it, and a link shows the newer traces. A failed call is red."""
    console_mesh.solo60("call", "gym.ListGyms")
    page = visitor.open("/traces?method=GetGym")
    before = rows(page).count()
    missing = "00000000-0000-7000-8000-000000000000"
    console_mesh.solo60("call", "gym.GetGym", json.dumps({"gym_id": missing}))
    if before:
        page.get_by_role("link", name=re.compile("^Show 1 newer trace")).click()
    expect(rows(page).first).to_contain_text("call: GymService/GetGym")
    page.get_by_role("link", name="call: GymService/GetGym").first.click()

    expect(page.locator("button.call.failed").last).to_contain_text("GetGym")
    expect(page.get_by_label("Details of the call").get_by_role("alert")).to_have_text("There is no gym with this id.")


def test_the_console_records_no_span_of_its_readers(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """Requests of a browser are not traced, because their addresses may contain what a reader searches for."""
    visitor.open("/traces?id=canary")
    console_mesh.solo60("call", "gym.ListGyms")

    written = [path.read_text() for path in console_mesh.settings.local_span_dir.glob("*.jsonl")]
    assert any("ListGyms" in text for text in written)
    assert not any("canary" in text or "GET /" in text for text in written)
