"""Pages of mail: the inbox of a local mesh, one mail as text and as HTML, and messages that failed."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING

from nicegui import ui
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from console import widgets
from console.filter_form import FilterField, FilterForm
from console.frame import page
from console.pages.mail.failed_messages import FailedMessages, retry_button, status_badge
from console.text_table import Cell, TextTable, time_of
from mesh.telemetry.untraced import untraced
from operations.addresses import page_address
from operations.mail.inbox import MailNotFound, UnreadableMail, count_mails, find_mail, page_of_inbox, parse_mail
from operations.mail.messages import RETRYABLE
from operations.texts import counted, moment, moment_in
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub

if TYPE_CHECKING:
    from starlette.requests import Request

    from console.frame import View
    from console.state import Console
    from operations.mail.inbox import InboxPage, ParsedMail

PATH = "/mail"
PAGE_SIZE = 50
# The browser shows the HTML of a mail as a page of no site: without scripts, forms, frames and requests.
HTML_HEADERS = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": "no-store",
}
# Links would lead to a new tab, which the sandbox does not open.
NO_LINKS = '<base target="_blank">'


@page(PATH, "Mail")
async def mail(view: View) -> None:
    """Show the inbox of a local mesh and the messages that failed."""
    widgets.heading("Failed messages")
    await FailedMessages(view).draw()
    widgets.heading("Inbox")
    await _inbox(view)


@page(PATH + "/{mail_id}", "Mail")
async def one_mail(view: View, mail_id: str) -> None:
    """Show one mail of the inbox."""
    found = await asyncio.to_thread(_read, view.console, mail_id)
    widgets.fact_list(
        {
            "subject": found.head.subject,
            "to": found.head.recipient,
            "from": found.sender,
            "received": moment(found.head.received),
        }.items()
    )
    if found.html:
        _draw_html(found)
    widgets.heading("Text" if found.text or not found.html else "Source of the HTML, because the mail has no text")
    ui.label(found.text or found.html).classes("mono text-block")
    widgets.heading("Headers")
    with ui.element("div").classes("mono headers"):
        widgets.fact_list(found.headers)


@page(PATH + "/messages/{message_id}", "Message")
async def message(view: View, message_id: str) -> None:
    """Show the status of a message, with the console's own key."""
    request = pb.GetMessageRequest(message_id=message_id)
    with untraced():
        found = (await view.console.channels.stub(CommunicationServiceStub).GetMessage(request)).message
    status_badge(found.status)
    facts = {
        "message id": found.message_id,
        "template": found.template_key,
        "attempts": found.attempts,
        "last error": found.last_error,
        "stored": moment(found.create_time.ToDatetime(UTC)),
        "sent": moment_in(found, "send_time"),
        "expires": moment_in(found, "expire_time") or "never",
        "Message-ID": found.email_message_id,
        "may have been sent": "yes" if found.may_have_been_sent else "",
    }
    widgets.fact_list(facts.items())
    if found.status in RETRYABLE:
        retry_button(view, found, ui.navigate.reload)


async def _inbox(view: View) -> None:
    folder, to = view.console.settings.inbox_folder, view.query("to")
    if not folder.is_dir():
        widgets.empty_state(
            "This mesh has no local inbox.",
            "`solo60 up` stores all mail of a mesh in its inbox if SMTP_URL is an address on loopback, as by default.",
        )
        return
    FilterForm(PATH, [FilterField("to", "Recipient", to, placeholder="a part of the address", size="wide")])
    found = await asyncio.to_thread(page_of_inbox, folder, PAGE_SIZE, to, view.query("before"))
    if not found.mails:
        hint = (
            "A part of the address is enough." if to else "`solo60 demo booking` books a session and sends two mails."
        )
        widgets.empty_state(f"There is no mail to {to}." if to else "There is no mail yet.", hint)
        return
    number = await asyncio.to_thread(count_mails, folder)
    ui.label(f"{counted(number, 'mail')} in the inbox, newest first.").classes("note")
    _list(found)
    if found.next_cursor:
        ui.link("Older mail", page_address("mail", to=to, before=found.next_cursor)).classes("older")


def _list(found: InboxPage) -> None:
    TextTable(
        ("received", "to", "subject"),
        [
            (time_of(each.received), each.recipient, Cell(each.subject or "(no subject)", _path_of(each.mail_id)))
            for each in found.mails
        ],
    )


def _draw_html(found: ParsedMail) -> None:
    widgets.heading("HTML")
    ui.label("Scripts, forms, remote images and links are off in this view. The text below has the links.").classes(
        "note"
    )
    frame = ui.element("iframe").classes("mail-html")
    frame.props["src"] = f"{_path_of(found.head.mail_id)}/html"
    frame.props["title"] = "HTML of the mail"
    frame.props["sandbox"] = ""


def _path_of(mail_id: str) -> str:
    return page_address("mail", mail_id)


def _read(console: Console, mail_id: str) -> ParsedMail:
    return parse_mail(find_mail(console.settings.inbox_folder, mail_id))


def _html_route(console: Console) -> Route:
    async def show(request: Request) -> Response:
        try:
            found = await asyncio.to_thread(_read, console, request.path_params["mail_id"])
        except (MailNotFound, UnreadableMail) as error:
            return PlainTextResponse(f"{error}\n", 404)
        content = (found.html + NO_LINKS).encode("utf-8", "replace")
        return Response(content, headers=HTML_HEADERS, media_type="text/html")

    return Route(PATH + "/{mail_id}/html", show)


ROUTES = (_html_route,)
