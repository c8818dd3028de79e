"""`solo60 inbox`: mail that the mail sink of the local mesh has received, newest last."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.panel import Panel

from cli.terminal import JsonFlag, err, out, print_json
from contracts.mail_address import canonical
from local.mail_sink import read_mails
from mesh.config import load_settings


def inbox(
    to: Annotated[str | None, typer.Option(help="Show only mail to this address, or part of it.")] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Number of newest mails to show.")] = 10,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show the mail that the mail sink of the local mesh has received."""
    mails = [
        mail for mail in read_mails(load_settings().inbox_folder) if to is None or _stored_form(to) in mail.recipient
    ]
    shown = mails[-number:]
    if as_json:
        print_json([{**asdict(mail), "received": mail.received.isoformat()} for mail in shown])
        return
    for mail in shown:
        head = f"To: {mail.recipient}\nFrom: {mail.sender}\nReceived: {mail.received:%Y-%m-%d %H:%M:%S} UTC\n\n"
        panel = Panel(head + mail.body.strip(), title=mail.subject, title_align="left", width=100)
        out.print(panel, markup=False, soft_wrap=False)
    if not mails:
        err.print("There is no mail yet." if to is None else f"There is no mail to {to}.", markup=False)


def _stored_form(to: str) -> str:
    """Return an address with its domain in ASCII, as it is stored. A partial address is returned unchanged."""
    try:
        return canonical(to)
    except ValueError:
        return to
