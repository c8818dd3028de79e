"""`solo60 inbox`: mail that the mail sink of the local mesh has received, newest last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.panel import Panel

from cli.terminal import JsonFlag, err, out, print_json
from mesh.config import load_settings
from operations.mail.inbox import UnreadableMail, find_mail, page_of_inbox, parse_mail
from operations.texts import moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operations.mail.inbox import ParsedMail


def inbox(
    to: Annotated[str | None, typer.Option(help="Show only mail to this address, or part of it.")] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Number of newest mails to show.")] = 10,
    *,
    html: Annotated[bool, typer.Option("--html", help="Show the HTML of each mail; with --json, in addition.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the mail that the mail sink of the local mesh has received."""
    mails = list(_newest(number, to or ""))
    if as_json:
        print_json([{**_as_dict(mail), **({"html": mail.html} if html else {})} for mail in mails])
        return
    for mail in mails:
        head = mail.head
        facts = f"To: {head.recipient}\nFrom: {mail.sender}\nReceived: {moment(head.received)}\n\n"
        body = mail.html if html else mail.text or mail.html
        panel = Panel(facts + body.strip(), title=head.subject, title_align="left", width=100)
        out.print(panel, markup=False, soft_wrap=False)
    if not mails:
        err.print("There is no mail yet." if to is None else f"There is no mail to {to}.", markup=False)


def _newest(number: int, to: str) -> Iterator[ParsedMail]:
    """Yield the newest mails, newest last. Name malformed mails on standard error."""
    folder = load_settings().inbox_folder
    for head in reversed(page_of_inbox(folder, number, to).mails):
        try:
            yield parse_mail(find_mail(folder, head.mail_id))
        except UnreadableMail as error:
            err.print(str(error), markup=False, style="yellow")


def _as_dict(mail: ParsedMail) -> dict[str, object]:
    return {
        "mail_id": mail.head.mail_id,
        "sender": mail.sender,
        "recipient": mail.head.recipient,
        "subject": mail.head.subject,
        "body": mail.text or mail.html,
        "message_id": mail.message_id,
        "received": mail.head.received.isoformat(),
    }
