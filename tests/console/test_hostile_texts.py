"""Every page with hostile texts in everything that it shows: they stay text.

The browser ignores the content security policy here, so that nothing but the pages themselves prevents a script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from playwright.sync_api import TimeoutError  # noqa: A004 - not the one of Python

from operations.logs.filter import printable
from tests.console.planted_texts import ALL, SERVICE, plant, remove_dead_letters
from tests.support.api_client import operator_key
from tests.support.browser import visiting
from tests.support.console_process import running_console
from tests.support.hostile_texts import LINES, MARKUP, RUN, TEXTS

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
# The browser's own text of an element has every character, also those that nobody sees.
MISSING = "wanted => wanted.filter(text => !document.querySelector('main').textContent.includes(text))"
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
    """Run a console of its own, whose logs and spans have the texts."""
    data_dir = tmp_path_factory.mktemp("hostile")
    planted = plant(console_mesh, data_dir)
    with running_console(console_mesh, data_dir=data_dir) as process:
        yield process, planted
    remove_dead_letters(console_mesh)


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
    except TimeoutError:
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
    planted = console[1]
    page = reader.context.new_page()
    for address, texts in {
        "/": ["hostile"],
        "/map": [],
        "/traces?service=hostile": TEXTS[:40],
        f"/traces/{planted.trace_id}": TEXTS,
        "/logs?service=hostile": map(printable, TEXTS),
        "/outbox?service=session&status=dead": LINES,
        f"/outbox/session/{planted.message_id}": [LINES[0], *ALL.split("\n")],
        "/journeys": [planted.session_id],
        f"/journeys/{planted.session_id}": [],
        f"/mail?to={planted.mail_to}": LINES[1:],
        "/keys": [],
    }.items():
        reader.go(page, address)
        try:
            require_shown(page, texts)
        except AssertionError as e:
            print(e); print(page.locator('main').inner_text()[:3000])
        require_harmless(page)
    assert 0
