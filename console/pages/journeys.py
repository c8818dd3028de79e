"""Pages `/journeys` and `/journeys/{id}`: one booking or subscription from end to end."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui
from starlette.responses import RedirectResponse
from starlette.routing import Route

from console import widgets
from console.frame import page
from local.log_reader import value_text
from operations.addresses import page_address
from operations.journeys.journey import Journey, read_journey, recent_journeys
from operations.journeys.steps import CALL, OK
from operations.texts import failure_text, moment

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from console.frame import View
    from console.state import Console
    from operations.journeys.steps import Step

RECENT = 30
HEADINGS = ("time (UTC)", "step", "by", "outcome", "duration", "undone by", "input")
TONES = {OK: "good", "delivered": "good", "pending": "warn", "dead": "bad"}


@page("/journeys", "Journeys")
async def journeys(view: View) -> None:
    """Show the latest journeys, and a field for the id of any other one."""
    with ui.element("form").props('method=get action="/journeys/find"').classes("row-line"):
        ui.element("input").props(
            'name=id required size=38 autocomplete=off spellcheck=false aria-label="Id of a session or subscription" '
            'placeholder="Id of a session or subscription"'
        ).classes("field")
        ui.button("Show").props("type=submit outline dense no-caps")
    found, failures = await recent_journeys(view.console.channels, RECENT)
    for service, error in failures.items():
        widgets.error_state(
            f"{service} did not answer: {failure_text(error)}", "The page Now shows the reason, as does: solo60 health"
        )
    widgets.heading("Latest bookings and subscriptions")
    if not found and not failures:
        widgets.empty_state("There are no recent journeys.", "Book a session: solo60 demo booking")
    if found:
        widgets.table(
            ("last mail", "kind", "id"),
            [(moment(each.time), each.kind, partial(_link, each.subject_id)) for each in found],
        )


@page("/journeys/{subject_id}", "Journey")
async def journey(view: View, subject_id: str) -> None:
    """Show the state, the waits and the steps of one journey."""
    found = await read_journey(view.console.settings, view.console.channels, subject_id)
    subject = found.subject
    with ui.element("div").classes("row-line journey-head"):
        ui.label(subject.kind).classes("title")
        widgets.mono(subject.subject_id)
        widgets.badge(subject.status.partition("_STATUS_")[2].replace("_", " ").lower())
    for failure in found.failures:
        widgets.error_state(failure, "The steps below lack this source.")
    _waits(found)
    widgets.heading("Steps")
    if found.steps:
        widgets.table(HEADINGS, map(_row, found.steps))
    else:
        widgets.empty_state("No step is stored.", "Logs, traces and delivered messages are deleted after some time.")
    widgets.heading("State")
    widgets.fact_list({name: value_text(value) for name, value in subject.facts.items()}.items())
    for payment in subject.payments:
        widgets.heading("Payment")
        widgets.fact_list({name: value_text(value) for name, value in payment.items()}.items())


def _find_route(_console: Console) -> Route:
    return Route("/journeys/find", _find)


async def _find(request: Request) -> Response:
    """Redirect to the journey with the id in the query."""
    return RedirectResponse(page_address("journeys", request.query_params.get("id", "").strip()), 303)


ROUTES = (_find_route,)


def _waits(found: Journey) -> None:
    with ui.element("section").classes("card waits" if found.waits else "card"):
        for sentence in found.waits or ["Nothing is pending."]:
            ui.label(sentence)


def _row(step: Step) -> tuple[object, ...]:
    return (
        partial(widgets.nowrap, moment(step.time, milliseconds=True).removesuffix(" UTC")),
        partial(_step, step),
        partial(widgets.nowrap, f"{step.caller}, {step.kind}"),
        partial(_outcome, step),
        partial(widgets.nowrap, "" if step.duration_ms is None else f"{step.duration_ms:.1f} ms"),
        partial(_undone_by, step),
        partial(_input, step),
    )


def _step(step: Step) -> None:
    if step.message_id:
        ui.link(step.method, page_address("outbox", step.caller, step.message_id))
    elif step.trace_id:
        ui.link(step.method, page_address("traces", step.trace_id))
    else:
        ui.label(step.method)


def _outcome(step: Step) -> None:
    widgets.badge(step.outcome, TONES.get(step.outcome, "bad" if step.kind == CALL else ""))
    if step.error:
        ui.label(step.error).classes("note")
    if step.due_time is not None:
        ui.label(f"due {moment(step.due_time)}").classes("note")


def _undone_by(step: Step) -> None:
    for each in step.undone_by:
        ui.label(each)


def _input(step: Step) -> None:
    if step.request is None:
        return
    with ui.element("details"):
        with ui.element("summary"):
            ui.label("request")
        ui.label(json.dumps(step.request, indent=1, ensure_ascii=False)).classes("mono request")


def _link(subject_id: str) -> None:
    ui.link(subject_id, page_address("journeys", subject_id)).classes("mono")
