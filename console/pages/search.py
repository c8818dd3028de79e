"""Page `/search?q=`: pages, contracts, callers and ids that match the text in the header's field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.frame import NAVIGATION, Redirect, page
from console.pages.contracts.addresses import address_of, address_of_service
from contracts.services import SERVICE_NAMES
from operations.addresses import page_address
from operations.contracts.catalog import search as search_contracts
from operations.id_search import Found, Hit, IdSearch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from console.frame import View
    from operations.contracts.catalog import Entry

# The field takes any text, and no name or id is longer.
MAX_QUERY_LENGTH = 200
MAX_CONTRACTS = 40
SEARCHED = (
    "The search finds pages, services, methods, messages, events, error reasons and callers by name, and sessions, "
    "payments, subscriptions, outbox messages, mails, traces and requests by id."
)
EXAMPLES = {
    "gym.GetGym": "a method, a message, an event or an error reason",
    "waiting list": "words of a comment in the contracts",
    "outbox": "a page",
    "operator": "a caller with an API key",
}


@page("/search", "Search")
async def search(view: View) -> None:
    """List everything that matches, or redirect to the only exact match."""
    query = " ".join(view.query("q").split())[:MAX_QUERY_LENGTH]
    if not query:
        _invite("Type a name, an id or words into the field above. The key / moves the focus there.")
        return
    by_id = await IdSearch(view.console.settings, view.console.channels).find(query)
    contracts = search_contracts(query)
    hits = [*_pages(query), *by_id.hits, *_services(query), *(_contract(each, query) for each in contracts)]
    exact = [each for each in hits if each.is_exact]
    if len(exact) == 1 and not by_id.failures:
        raise Redirect(exact[0].page)
    _draw(query, sorted(hits, key=lambda each: not each.is_exact), len(contracts), by_id)


def _draw(query: str, hits: list[Hit], contracts: int, by_id: Found) -> None:
    for failure in by_id.failures:
        widgets.error_state(f"Not searched: {failure}", "The other sources were searched.")
    if not hits:
        _invite(f"Nothing matches {query}.")
        return
    shown = hits[: len(hits) - max(contracts - MAX_CONTRACTS, 0)]
    ui.label(f"{len(hits)} found").classes("note").props("role=status")
    widgets.table(("kind", "name", "meaning or state"), [(each.kind, _link_to(each), each.detail) for each in shown])
    if len(shown) < len(hits):
        target = page_address("internal", "docs", q=query)
        ui.link(f"All {contracts} contracts that match", target).classes("more")


def _link_to(hit: Hit) -> object:
    return lambda: ui.link(hit.title, hit.page).classes("mono hit")


def _invite(text: str) -> None:
    """Show that there is no result, with examples of queries."""
    widgets.empty_state(text, SEARCHED)
    widgets.heading("Examples")
    with ui.element("dl").classes("facts"):
        for example, meaning in EXAMPLES.items():
            with ui.element("dt"):
                ui.link(example, page_address("search", q=example)).classes("mono")
            with ui.element("dd"):
                ui.label(meaning)


def _pages(query: str) -> Iterator[Hit]:
    for path, name, _ in NAVIGATION:
        if query.lower() in name.lower():
            yield Hit("page", name, path, is_exact=query.lower() == name.lower())


def _services(query: str) -> Iterator[Hit]:
    for name in SERVICE_NAMES:
        if query.lower() in name:
            yield Hit("service", name, address_of_service(name), is_exact=query.lower() == name)


def _contract(entry: Entry, query: str) -> Hit:
    names = {entry.name, entry.title, entry.title.rpartition(".")[2], entry.name.replace("/", ".")}
    is_exact = query.lower().lstrip("/") in {each.lower() for each in names}
    return Hit(entry.kind.value, entry.title, address_of(entry), entry.summary, is_exact)
