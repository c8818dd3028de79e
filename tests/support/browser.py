"""Headless Chromium for tests of pages, and a visitor who notices every error.

    def test_x(visitor: Visitor) -> None:
        page = visitor.open("/outbox")
        expect(page.get_by_role("heading", name="Outbox")).to_be_visible()

A test fails if the browser reports an error or asks another host for anything.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, WebError

ROOT = Path(__file__).parents[2]
SCREENS = ROOT / "build" / "screens"
TIMEOUT_MS = 15_000
SIZES = {"1280": {"width": 1280, "height": 800}, "800": {"width": 800, "height": 800}}
# Without them, Chromium asks hosts of its maker at every start.
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def chromium() -> str:
    """Return the path of Chromium; skip the test if there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on PATH, so no page was tested; on Debian: apt install chromium")
    return path


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run a headless Chromium while the context is open."""
    path = chromium()
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """Person with a browser of their own at the console at `base`, such as "http://127.0.0.1:5500".

    `expected` are texts of browser errors that a test causes on purpose.
    """

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.base = base
        self.context = context
        self.errors: list[str] = []
        self.expected: list[str] = []
        context.set_default_timeout(TIMEOUT_MS)
        context.on("console", self._note_message)
        context.on("weberror", self._note_error)
        context.on("request", self._note_request)
        context.on("dialog", self._note_dialog)

    def open(self, path: str) -> Page:
        """Return a new tab with the page at `path`, complete and connected to its server."""
        page = self.context.new_page()
        self.go(page, path)
        return page

    def go(self, page: Page, path: str) -> None:
        """Lead a tab to the page at `path`."""
        page.goto(self.base + path)
        expect(page.locator("body.connected main h1")).to_be_visible()

    def sign_in(self, key: str) -> None:
        """Sign in with a key."""
        page = self.open("/login")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="sign out")).to_be_visible()
        page.close()

    def unexpected_errors(self) -> list[str]:
        """Return the errors that no text in `expected` occurs in."""
        return [error for error in self.errors if not any(text in error for text in self.expected)]

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")

    def _note_error(self, error: WebError) -> None:
        self.errors.append(str(error.error))

    def _note_dialog(self, dialog: Dialog) -> None:
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(self.base).netloc:
            self.errors.append(f"request to another host: {request.url}")


@contextmanager
def visiting(browser: Browser, base: str, **options: object) -> Iterator[Visitor]:
    """Yield a visitor; fail if the browser reported an error meanwhile."""
    context = browser.new_context(viewport=SIZES["1280"], **options)  # type: ignore[arg-type]  # any options
    visitor = Visitor(context, base)
    try:
        yield visitor
    finally:
        context.close()
    errors = visitor.unexpected_errors()
    assert not errors, errors


def take_screens(page: Page, name: str) -> None:
    """Write pictures of a page, light and dark and at each width, to build/screens/."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    before = page.viewport_size
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        expect(page.locator("body.body--dark")).to_have_count(1 if theme == "dark" else 0)
        for width, size in SIZES.items():
            page.set_viewport_size(size)  # type: ignore[arg-type]  # a typed dictionary
            page.screenshot(path=SCREENS / f"{name}-{theme}-{width}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    if before is not None:
        page.set_viewport_size(before)
