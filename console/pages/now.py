"""Page `/`: all current problems of the mesh, in order of harm."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.frame import page
from mesh.failure import Failure
from mesh.serving.health_probe import SERVING
from operations.addresses import page_address
from operations.health.problems import Harm
from operations.texts import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from console.frame import View
    from operations.health.now import Now
    from operations.health.problems import Problem

UPDATE_INTERVAL_S = 2.0
# A frozen service delays the answer. The page then opens without it.
FIRST_READ_S = 1.0
WORDS = {
    Harm.OUTAGE: ("outage", "bad"),
    Harm.STUCK: ("stuck", "bad"),
    Harm.UNKNOWN: ("unknown", "warn"),
    Harm.RISK: ("risk", "warn"),
    Harm.NOTE: ("note", ""),
}


@page("/", "Now")
async def now(view: View) -> None:
    """Show all problems, the facts, and the state of each service, and update them in place."""
    shown = _Content()

    async def update() -> None:
        try:
            shown.update(await view.console.now_page.get())
        except Failure as error:
            shown.fail(str(error))

    try:
        await asyncio.wait_for(update(), FIRST_READ_S)
    except TimeoutError:
        shown.fail("A service is slow to answer. The state follows.")
    ui.timer(UPDATE_INTERVAL_S, update)


class _Content:
    """Elements of one open page. An update leaves unchanged elements alone, so that nothing flickers."""

    def __init__(self) -> None:
        with ui.element("section").classes("summary").props("role=status aria-live=polite"):
            self._summary = ui.label().classes("title")
        self._list = ui.element("ul").classes("problems").props('aria-label="Problems"')
        self._rows: dict[tuple[object, ...], _Row] = {}
        self._facts = _Facts()
        widgets.heading("Services")
        self._services = ui.element("ul").classes("services").props('aria-label="Services"')
        self._badges: dict[str, ui.label] = {}

    def fail(self, reason: str) -> None:
        """Show why there is no current state."""
        self._say(reason, "unknown")

    def update(self, found: Now) -> None:
        """Show `found`."""
        wrong = sum(each.harm is not Harm.NOTE for each in found.problems)
        if found.is_calm:
            self._say(found.calm_sentence, "calm")
        else:
            self._say(f"{counted(wrong, 'problem')}, the most harmful first.", "wrong")
        self._update_problems(found.problems)
        self._facts.update(found.facts())
        for name, status in found.statuses.items():
            self._update_service(name, status)

    def _say(self, text: str, kind: str) -> None:
        self._summary.text = text
        self._summary.classes(replace=f"title {kind}")

    def _update_problems(self, problems: Iterable[Problem]) -> None:
        wanted = _by_identity(problems)
        for gone in self._rows.keys() - wanted.keys():
            self._rows.pop(gone).element.delete()
        for place, (identity, problem) in enumerate(wanted.items()):
            if identity not in self._rows:
                with self._list:
                    self._rows[identity] = _Row(problem)
            row = self._rows[identity]
            row.sentence.text = problem.sentence
            if self._list.default_slot.children[place] is not row.element:
                row.element.move(target_index=place)

    def _update_service(self, name: str, status: str) -> None:
        if name not in self._badges:
            with self._services, ui.element("li"):
                ui.link(name, page_address("logs", service=name))
                self._badges[name] = widgets.badge(status)
        badge = self._badges[name]
        badge.text = status
        badge.classes(replace=f"badge {'good' if status == SERVING else 'bad'}")


class _Row:
    """One problem in the list."""

    def __init__(self, problem: Problem) -> None:
        word, tone = WORDS[problem.harm]
        with ui.element("li").classes(f"problem {tone}") as self.element:
            with ui.element("div").classes("row-line"):
                widgets.badge(word, tone)
                ui.label(problem.subject).classes("title")
            self.sentence = ui.label(problem.sentence).classes("sentence")
            with ui.element("div").classes("row-line"):
                if problem.command:
                    widgets.command(problem.command)
                if problem.page:
                    ui.link("Show more", problem.page).props["aria-label"] = f"Show more about {problem.subject}"


class _Facts:
    """Facts about the whole mesh."""

    def __init__(self) -> None:
        self._list = ui.element("dl").classes("facts")
        self._values: dict[str, ui.label] = {}

    def update(self, facts: dict[str, str]) -> None:
        """Show `facts`."""
        for name, value in facts.items():
            if name not in self._values:
                with self._list:
                    with ui.element("dt"):
                        ui.label(name)
                    with ui.element("dd"):
                        self._values[name] = ui.label()
            self._values[name].text = value


def _by_identity(problems: Iterable[Problem]) -> dict[tuple[object, ...], Problem]:
    """Return the problems by everything that a row shows, except the sentence, which may contain a growing time."""
    numbers: Counter[tuple[object, ...]] = Counter()
    found: dict[tuple[object, ...], Problem] = {}
    for each in problems:
        identity = each.harm, each.subject, each.page, each.command
        numbers[identity] += 1
        found[(*identity, numbers[identity])] = each
    return found
