"""Every page with hostile texts in everything that it shows: they stay text.

The browser ignores the content security policy here, so that nothing but the pages themselves prevents a script.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from playwright.sync_api import TimeoutError as PageTimeout
from playwright.sync_api import expect

from operations.logs.filter import printable
from tests.console.outbox_messages import delete
from tests.console.planted_texts import ALL, MAILED, plant
from tests.support.api_client import operator_key
from tests.support.browser import visiting
from tests.support.console_process import running_console
from tests.support.hostile_texts import ATTACKER, LINES, MARKUP, RUN, TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from playwright.sync_api import Browser, Page

    from tests.console.planted_texts import Planted
    from tests.support.browser import Visitor
    from tests.support.console_process import ConsoleProcess
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

# A path ends at "/", so a text in a path has none.
IN_PATH = quote("".join(text.replace("/", "") for text in TEXTS if len(text) < 100), safe="")
IN_QUERY = quote(ALL, safe="")
SHOWN_MS = 2_000
# The browser's own text of an element has every character, also invisible ones.
MISSING = "wanted => wanted.filter(text => !document.querySelector('main.content').textContent.includes(text))"
ADDRESSES = (
    "/login?next={q}&failed={q}",
    "/search?q={q}",
    "/search?q=%3Cimg%20id=planted%20src=x:%20onerror=hostile()%3E",
    "/logs?service={q}",
    "/logs?text={q}&method={q}&correlation={q}",
    "/logs?level={q}&code={q}",
    "/traces?method={q}&service={q}&caller={q}&id={q}",
    "/traces?slower_ms={q}&from={q}&to={q}&page={q}",
    "/traces/{p}?span={q}",
    "/outbox?service={q}&status={q}&destination={q}&page={q}",
    "/outbox?service=session&destination={q}",
    "/outbox/{p}/{p}",
    "/outbox/session/{p}",
    "/journeys/{p}",
    "/mail?to={q}&before={q}&failed={q}",
    "/mail/{p}",
    "/mail/messages/{p}",
    "/keys?caller={q}&state={q}&page={q}",
    "/map?method={q}",
    "/map?edge={q}",
    "/map?service={q}",
    "/map?view={q}&sort={q}&of={q}&show={q}",
    "/map?view=table&sort={q}&of={q}&show={q}",
    "/internal/docs?q={q}&kind={q}",
    "/internal/docs/{p}",
    "/internal/docs/{p}/{p}",
    "/internal/docs/gym/{p}",
    "/internal/docs/types/{p}",
    "/internal/docs/errors/{p}",
    "/{p}",
)


@pytest.fixture(scope="module")
def console(
    console_mesh: LocalMesh, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ConsoleProcess, Planted]]:
    """Run a console of its own, with the texts in its logs and spans."""
    data_dir = tmp_path_factory.mktemp("hostile")
    planted = plant(console_mesh, data_dir)
    with running_console(console_mesh, data_dir=data_dir) as process:
        yield process, planted
    delete(console_mesh, *planted.message_ids)


@pytest.fixture
def reader(browser: Browser, console: tuple[ConsoleProcess, Planted], console_mesh: LocalMesh) -> Iterator[Visitor]:
    """Return the operator, in a browser without a content security policy."""
    with visiting(browser, console[0].base, bypass_csp=True) as found:
        found.context.add_init_script(RUN)
        found.sign_in(operator_key(console_mesh))
        yield found


def require_harmless(page: Page) -> None:
    """Fail if a text became markup or ran, after the browser has drawn everything."""
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    assert page.locator(MARKUP).count() == 0, page.url
    assert not page.evaluate("window.ranHostile"), page.url


def require_shown(page: Page, texts: Iterable[str]) -> None:
    """Wait until the page shows all texts as text."""
    wanted = list(texts)
    try:
        page.wait_for_function(f"wanted => ({MISSING})(wanted).length === 0", arg=wanted, timeout=SHOWN_MS)
    except PageTimeout:
        assert page.evaluate(MISSING, wanted) == [], page.url


def test_no_text_in_an_address_runs(reader: Visitor) -> None:
    """Paths and parameters of every page are shown as text, or not at all."""
    page = reader.context.new_page()
    reader.expected += ["404 (Not Found)"]
    for address in ADDRESSES:
        reader.go(page, address.format(q=IN_QUERY, p=IN_PATH))
        require_harmless(page)


def test_no_stored_text_runs(reader: Visitor, console: tuple[ConsoleProcess, Planted]) -> None:
    """Names, errors, attributes, log lines and headers are shown as text on every page that has them."""
    planted, page = console[1], reader.context.new_page()
    for address, texts in {
        "/": [text for text in LINES if "/" not in text],
        "/map": [],
        "/traces?service=hostile": MAILED[-40:],
        f"/traces/{planted.trace_id}": TEXTS,
        "/outbox?service=session&status=dead": LINES,
        f"/outbox/session/{planted.message_ids[5]}": [LINES[5]],
        "/journeys": [planted.session_id],
        f"/journeys/{planted.session_id}": as_json(TEXTS),
        f"/mail?to={planted.mail_to}": LINES[1:],
        "/keys": [],
        "/logs?service=hostile": map(printable, TEXTS),
    }.items():
        reader.go(page, address)
        require_shown(page, texts)
        require_harmless(page)
    for row in page.locator(".log-row summary").all()[-3:]:
        row.click()
    require_shown(page, [printable("\ud800")])
    require_harmless(page)


def test_no_answer_of_a_call_runs(reader: Visitor, console: tuple[ConsoleProcess, Planted]) -> None:
    """Names of people and gyms, requests, headers and errors are shown as text beside the form of a call."""
    planted, page = console[1], reader.context.new_page()
    reader.go(page, "/internal/docs/user/SearchUsers")
    call(page, {"query": planted.domain})
    require_shown(page, as_json(LINES))
    require_harmless(page)
    page.locator(".options summary").click()
    page.get_by_label("Headers").fill(f"x-hostile={LINES[6]}")
    page.get_by_label("Request as JSON").fill(ALL)
    page.get_by_role("button", name="Call", exact=True).click()
    require_harmless(page)
    reader.go(page, "/internal/docs/gym/GetGym")
    call(page, {"gym_id": planted.gym_id})
    require_shown(page, as_json(LINES[:20]))
    call(page, {"gym_id": LINES[5]})
    expect(page.locator(".outcome .badge")).to_have_text("INVALID_ARGUMENT")
    require_harmless(page)


def test_no_mail_runs(browser: Browser, console: tuple[ConsoleProcess, Planted]) -> None:
    """The headers, the text and the source of a mail are shown as text, and its HTML without scripts and requests."""
    # The policy of the HTML prevents its requests, so this browser obeys policies.
    with visiting(browser, console[0].base) as reader:
        # The browser reports everything that it blocks.
        reader.expected += ["Content Security Policy", "sandboxed", "Unsafe attempt to load URL", ATTACKER]
        reader.context.add_init_script(RUN)
        page = reader.open(f"/mail?to={console[1].mail_to}")
        page.locator("td a").first.press("Enter")
        require_shown(page, [*LINES, "X-Hostile"])
        expect(page.frame_locator("iframe.mail-html").get_by_role("heading", name="Mail")).to_be_visible()
        require_harmless(page)


def call(page: Page, request: object) -> None:
    """Make a call with a request."""
    page.get_by_label("Request as JSON").fill(json.dumps(request))
    page.get_by_role("button", name="Call", exact=True).click()
    expect(page.locator(".outcome .badge").first).to_be_visible()


def as_json(texts: Iterable[str]) -> list[str]:
    """Return the texts as they are in JSON."""
    return [json.dumps(text, ensure_ascii=False)[1:-1] for text in texts]
