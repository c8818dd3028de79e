"""`solo60 inbox`: mail that the mail sink of the local mesh has received, newest last."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.panel import Panel

from cli.terminal import JsonFlag, err, out, print_json
from local.mail_sink import read_mail
from mesh.config import load_settings
from operations.inbox import find_mail, page_of_inbox


def inbox(
    to: Annotated[str | None, typer.Option(help="Show only mail to this address, or part of it.")] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Number of newest mails to show.")] = 10,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show the mail that the mail sink of the local mesh has received."""
    folder = load_settings().inbox_folder
    ids = [head.mail_id for head in page_of_inbox(folder, number, to or "").mails[::-1]]
    mails = {mail_id: read_mail(find_mail(folder, mail_id)) for mail_id in ids}
    if as_json:
        print_json(
            [
                {"mail_id": mail_id, **asdict(mail), "received": mail.received.isoformat()}
                for mail_id, mail in mails.items()
            ]
        )
        return
    for mail in mails.values():
        head = f"To: {mail.recipient}\nFrom: {mail.sender}\nReceived: {mail.received:%Y-%m-%d %H:%M:%S} UTC\n\n"
        panel = Panel(head + mail.body.strip(), title=mail.subject, title_align="left", width=100)
        out.print(panel, markup=False, soft_wrap=False)
    if not mails:
        err.print("There is no mail yet." if to is None else f"There is no mail to {to}.", markup=False)
