"""Frame of every page: navigation, search, theme, sign-in, and the errors of a page."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import structlog
from nicegui import ui
from starlette.requests import Request  # noqa: TC002 - FastAPI reads the annotation of a page
from starlette.responses import RedirectResponse, Response

from console import widgets
from console.guard import LOGIN, login_address
from contracts.errors import ServiceError
from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import ModuleType

    from nicegui import Client

    from console.sessions import Reader
    from console.state import Console

# Path, title and icon of each page in the navigation.
NAVIGATION = (
    ("/", "Now", "monitor_heart"),
    ("/map", "Map", "hub"),
    ("/internal/docs", "Contracts", "description"),
    ("/traces", "Traces", "timeline"),
    ("/logs", "Logs", "subject"),
    ("/outbox", "Outbox", "outbox"),
    ("/journeys", "Journeys", "route"),
    ("/mail", "Mail", "mail"),
    ("/keys", "Keys", "key"),
)
# Themes by the value of the browser's cookie, as NiceGUI names them. None follows the operating system.
THEMES = {"dark": True, "light": False}
THEME_COOKIE = "solo60_theme"
# Interval of the check whether the reader of an open page is still signed in.
LOGIN_CHECK_S = 5.0
THEME_S = 365 * 24 * 3600
STATIC = Path(__file__).parent / "static"
# Part of the addresses of static files, so that browsers load changed files again.
VERSION = str(max(int(path.stat().st_mtime) for path in STATIC.iterdir()))
HEAD = (
    f'<link rel="stylesheet" href="/static/console.css?{VERSION}">'
    f'<script defer src="/static/console.js?{VERSION}"></script>'
)
FAILED = "This page failed. The reason is in the log of the console: solo60 logs console"
# NiceGUI answers with a page of its own after 3 s.
DRAW_TIMEOUT_S = 2.5

_log = structlog.stdlib.get_logger("solo60.console")
_PAGE = "_console_page"


@dataclass(frozen=True, slots=True)
class View:
    """One visit of a page by a reader."""

    console: Console
    reader: Reader
    request: Request

    def query(self, name: str, default: str = "") -> str:
        """Return a parameter of the page's address."""
        return self.request.query_params.get(name, default)

    @property
    def address(self) -> str:
        """The path and the query of the page."""
        query = self.request.url.query
        return self.request.url.path + (f"?{query}" if query else "")


class Redirect(Exception):
    """Raised by a page to send the browser to another path of the console. `path` quotes any text from outside."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


Draw: TypeAlias = "Callable[..., Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class _Page:
    path: str
    title: str


def page(path: str, title: str) -> Callable[[Draw], Draw]:
    """Mark `async def draw(view, **path_parameters)` as the page at `path`, such as "/traces/{trace_id}"."""

    def mark(draw: Draw) -> Draw:
        setattr(draw, _PAGE, _Page(path, title))
        return draw

    return mark


def add_pages(console: Console, modules: Iterable[ModuleType]) -> None:
    """Add all pages of `modules` to NiceGUI's application."""
    for module in modules:
        for _, draw in inspect.getmembers(module, lambda each: hasattr(each, _PAGE)):
            _add(console, getattr(draw, _PAGE), draw)


def _add(console: Console, found: _Page, draw: Draw) -> None:
    async def show(request: Request) -> Response | None:
        view = View(console, request.state.reader, request)
        try:
            with frame(view, found.title):
                await _draw(view, draw)
        except Redirect as redirect:
            return RedirectResponse(redirect.path, 303)
        return None

    ui.page(found.path, title=f"{found.title} · Solo60")(show)


async def _draw(view: View, draw: Draw) -> None:
    """Draw the content of a page, or the failure in its place. Log a failure that is a fault of the console."""
    try:
        async with asyncio.timeout(DRAW_TIMEOUT_S):
            await draw(view, **view.request.path_params)
    except Redirect:
        raise
    except TimeoutError:
        _log.warning("a page took too long", path=view.request.url.path, limit_s=DRAW_TIMEOUT_S)
        widgets.error_state(
            "The services take too long to answer.", "Reload the page. `solo60 health` names the slow service."
        )
    except ServiceError as error:
        widgets.service_error(error)
    except Failure as error:
        widgets.error_state(str(error))
    except Exception:  # noqa: BLE001 - a page that fails must not take the frame with it
        _log.exception("a page failed", path=view.request.url.path)
        widgets.error_state(FAILED)


def frame(view: View, title: str) -> ui.element:
    """Draw everything around the content, and return the element for the content."""
    ui.add_head_html(HEAD)
    theme = ui.dark_mode(THEMES.get(view.request.cookies.get(THEME_COOKIE, "")))
    ui.colors(primary="#2563eb")
    with ui.element("header").classes("top"):
        ui.link("Solo60", "/").classes("brand")
        with ui.element("form").props('action="/search" method=get role=search').classes("search"):
            field = ui.element("input").props(
                'id=search name=q type=search autocomplete=off placeholder="Search methods, ids, pages" '
                'aria-label="Search" aria-keyshortcuts="/"'
            )
            field.props["value"] = view.query("q") if view.request.url.path == "/search" else ""
            ui.element("kbd").props("aria-hidden=true").classes("key").add_slot("default", "/")
        _theme_button(theme)
        _sign_in(view)
    ui.html(_navigation(view.request.url.path), sanitize=False, tag="nav").classes("side").props('aria-label="Pages"')
    main = ui.element("main").classes("content")
    with main, ui.element("h1"):
        ui.label(title)
    if view.console.settings.console_login and view.reader.is_signed_in:
        ui.timer(LOGIN_CHECK_S, partial(_leave_if_signed_out, view, ui.context.client))
    return main


def _leave_if_signed_out(view: View, client: Client) -> None:
    """End an open page after its reader signed out or the reader's key was revoked."""
    if not view.console.is_valid(view.reader.key.get_secret_value()):
        ui.navigate.to(LOGIN)
        client.delete()


def _navigation(here: str) -> str:
    """Return the links to all pages as HTML, which has no text from outside.

    Each element of NiceGUI costs 4 KiB of memory per open page.
    """
    links = []
    for path, name, icon in NAVIGATION:
        is_here = path == here or (path != "/" and here.startswith(path))
        marks = ' class="item here" aria-current="page"' if is_here else ' class="item"'
        icon_html = f'<i class="q-icon material-icons" aria-hidden="true">{icon}</i>'
        links.append(f'<a href="{path}" aria-label="{name}"{marks}>{icon_html}<span>{name}</span></a>')
    return "".join(links)


def _theme_button(theme: ui.dark_mode) -> None:
    def toggle() -> None:
        is_dark = not theme.value
        theme.value = is_dark
        name = "dark" if is_dark else "light"
        ui.run_javascript(f'document.cookie = "{THEME_COOKIE}={name}; path=/; max-age={THEME_S}; SameSite=Strict"')

    ui.button(icon="contrast", on_click=toggle).props('flat round dense aria-label="Dark or light"').classes("tool")


def _sign_in(view: View) -> None:
    if not view.reader.is_signed_in:
        ui.link("Sign in", login_address(view.address)).classes("tool sign-in")
        return
    with ui.element("form").props('method=post action="/session/end"').classes("tool"):
        ui.button(f"{view.reader.caller}: sign out").props("type=submit flat dense no-caps")
