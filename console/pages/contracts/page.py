"""Pages `/internal/docs` and `/internal/docs/{service}`: the list of all contracts, with a search."""

from __future__ import annotations

from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from nicegui import ui

from console.frame import page
from console.pages.contracts.addresses import CATALOGUE, address_of, address_of_service
from console.pages.contracts.parts import comment, trail
from contracts.services import short_service_name
from contracts.stored_texts import stored_texts
from operations.contracts.catalog import Entry, Kind, UnknownContract, entries, search, services
from operations.contracts.texts import first_sentence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from console.frame import View

KINDS = {
    "": "All",
    Kind.METHOD.value: "Methods",
    Kind.EVENT.value: "Events",
    Kind.MESSAGE.value: "Messages",
    Kind.ENUM.value: "Enums",
    Kind.ERROR.value: "Errors",
}
NOTES = {
    "mesh": "Every service also serves these methods, about its own outbox.",
    "common": "Types that several services share.",
    "errors": "Reasons of failed calls.",
}
COLUMNS = [
    {"name": "title", "label": "name", "field": "title", "align": "left"},
    {"name": "kind", "label": "kind", "field": "kind", "align": "left"},
    {"name": "summary", "label": "meaning", "field": "summary", "align": "left"},
]
# Vue escapes the texts. The rows of a table cost far less memory than elements.
ROW = """
<q-tr :props="props" :class="props.row.heading ? 'group' : ''">
  <template v-if="props.row.heading">
    <q-td colspan="3"><a :href="props.row.href">{{ props.row.title }}</a> <span>{{ props.row.summary }}</span></q-td>
  </template>
  <template v-else>
    <q-td class="name"><a class="mono" :href="props.row.href">{{ props.row.title }}</a></q-td>
    <q-td><span class="badge">{{ props.row.kind }}</span></q-td>
    <q-td class="summary">{{ props.row.summary }}</q-td>
  </template>
</q-tr>
"""


@page(CATALOGUE, "Contracts")
async def catalogue(view: View) -> None:
    """Show everything that the contracts declare."""
    with ui.element("nav").classes("row-line sections").props('aria-label="Services"'):
        for group in dict.fromkeys(each.group for each in entries()):
            ui.link(group, address_of_service(group))
    _Catalogue(view, "")


@page(f"{CATALOGUE}/{{service}}", "Contracts")
async def contracts_of_service(view: View, service: str) -> None:
    """Show everything that the contract of one service declares."""
    if service not in {each.group for each in entries()}:
        raise UnknownContract(f'There is no service "{service}". The catalogue lists all: {CATALOGUE}')
    trail(service, service)
    comment(_comments()[service])
    _Catalogue(view, service)


class _Catalogue:
    def __init__(self, view: View, group: str) -> None:
        self._group = group
        self._path = view.request.url.path
        kind = view.query("kind")
        with ui.element("div").classes("row-line filters"):
            self._query = (
                ui.input(placeholder="Name or words of the comment", value=view.query("q"))
                .props('outlined dense clearable debounce=150 aria-label="Search contracts" type=search')
                .classes("find")
            )
            self._kind = ui.toggle(KINDS, value=kind if kind in KINDS else "").props(
                'no-caps dense unelevated aria-label="Kind"'
            )
            self._count = ui.label().classes("note").props("role=status")
        self._table = ui.table(columns=COLUMNS, rows=[], row_key="id", pagination=0).classes("contracts")
        self._table.props("flat dense hide-pagination")
        self._table.add_slot("body", ROW)
        self._show()
        self._query.on_value_change(self._change)
        self._kind.on_value_change(self._change)

    def _show(self) -> None:
        query, kind = (self._query.value or "").strip(), self._kind.value or ""
        found = search(query, kind, self._group)
        if not query and kind != Kind.MESSAGE:
            # The pages of methods show their requests and responses.
            found = [each for each in found if not each.is_of_one_method]
        is_grouped = not query and not self._group
        self._table.rows = list(_grouped(found) if is_grouped else map(_row, found))
        self._table.set_visibility(bool(found))
        self._count.text = f"{len(found)} found" if found else "Nothing matches. Try fewer words, or another kind."

    def _change(self) -> None:
        self._show()
        wanted = {"q": (self._query.value or "").strip(), "kind": self._kind.value or ""}
        query = urlencode({name: value for name, value in wanted.items() if value})
        # The query is percent-encoded, so it cannot end the string.
        ui.run_javascript(f'history.replaceState(history.state, "", location.pathname + "{query and "?" + query}")')


def _grouped(found: Iterable[Entry]) -> Iterable[dict[str, object]]:
    for group, members in groupby(found, lambda each: each.group):
        summary = first_sentence(_comments()[group])
        yield {"id": group, "heading": True, "title": group, "href": address_of_service(group), "summary": summary}
        yield from map(_row, members)


@cache
def _row(entry: Entry) -> dict[str, object]:
    """Return the row of an entry. All readers share it."""
    return {
        "id": f"{entry.kind} {entry.name}",
        "title": entry.title,
        "kind": entry.kind.value,
        "summary": entry.summary,
        "href": address_of(entry),
    }


@cache
def _comments() -> dict[str, str]:
    comments = {short_service_name(each.full_name): stored_texts().comment_of(each) for each in services()}
    return comments | NOTES
