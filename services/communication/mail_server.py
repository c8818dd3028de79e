"""The mail server: takes a mail over SMTP, or says in a sentence without addresses why it did not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

import aiosmtplib

from services.communication.domain import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

# A whole attempt; a lease outlives it.
PATIENCE_S = 20.0
FAREWELL_S = 1.0
DEFAULT_PORTS = {"smtp": 25, "smtps": 465}
# From this SMTP code on, an answer to a mail is final (RFC 5321, section 4.2.1).
FIRST_FINAL_CODE = 500


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail goes; with `uses_tls` it is encrypted from the first byte, else as soon as the server offers it.

    `patience_s` is how long a whole attempt may take, in seconds.
    """

    host: str
    port: int
    uses_tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    patience_s: float = PATIENCE_S

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read "smtp://host:port" or "smtps://user:password@host:port"; raise ValueError when it is neither."""
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("not the URL of a mail server")
        return cls(
            parts.hostname,
            parts.port or DEFAULT_PORTS[parts.scheme],
            parts.scheme == "smtps",
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
        )

    async def hand_over(self, mail: bytes, *, sender: str, recipients: tuple[str, ...]) -> Outcome:
        """Offer a mail to the server and return what became of it; raise nothing but CancelledError."""
        client = self._client(sender)
        try:
            codes = await self._converse(client, mail, sender, recipients)
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = {each.recipient: each.code for each in error.recipients}
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
            codes = dict.fromkeys(recipients, error.code)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Outcome(_reason(error), recipients, is_in_doubt=client.has_begun_data)
        return _judge(recipients, codes)

    def _client(self, sender: str) -> _Client:
        return _Client(
            hostname=self.host,
            port=self.port,
            use_tls=self.uses_tls,
            username=self.user,
            password=self.password,
            local_hostname=sender.rpartition("@")[2],
            timeout=self.patience_s,
        )

    async def _converse(self, client: _Client, mail: bytes, sender: str, recipients: tuple[str, ...]) -> dict[str, int]:
        """Send the mail; return the recipients that the server refused, if it accepted others, with its codes."""
        try:
            async with asyncio.timeout(self.patience_s):
                await client.connect()
                refusals, _ = await client.sendmail(sender, recipients, mail)
            return {recipient: answer.code for recipient, answer in refusals.items()}
        finally:
            await _take_leave(client)


class _Client(aiosmtplib.SMTP):
    """A client that knows whether it began to hand over a mail, and talks of nothing else once that is answered.

    The library writes the whole mail as soon as the server will have it: from DATA on, only an answer tells what became
    of it.
    """

    has_begun_data = False

    async def data(self, message: str | bytes, /, **options: Any) -> aiosmtplib.SMTPResponse:  # noqa: ANN401 - the library's
        self.has_begun_data = True
        return await super().data(message, **options)

    async def rset(self, **_options: Any) -> aiosmtplib.SMTPResponse:  # noqa: ANN401 - the library's
        # The connection ends with this mail. A server that falls silent now would hide what it answered before.
        return aiosmtplib.SMTPResponse(aiosmtplib.SMTPStatus.completed, "")


async def _take_leave(client: aiosmtplib.SMTP) -> None:
    # Whatever goes wrong now changes nothing about the mail.
    with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(FAREWELL_S):
            await client.quit()
    client.close()


def _judge(recipients: tuple[str, ...], codes: Mapping[str, int]) -> Outcome:
    """Turn the codes of the refused recipients into an outcome."""
    if not codes:
        return Outcome()
    told = ", ".join(map(str, sorted(set(codes.values()))))
    error = f"The mail server refused {len(codes)} of {len(recipients)} recipients with code {told}."
    remaining = tuple(recipient for recipient, code in codes.items() if code < FIRST_FINAL_CODE)
    return Outcome(error, remaining, is_refused=not remaining and len(codes) == len(recipients))


def _reason(error: Exception) -> str:
    """Say why no mail could be offered; the error's own words may hold addresses, so none of them is repeated."""
    match error:
        case aiosmtplib.SMTPResponseException():
            # It turns us away, not this mail: a wrong password must not be the end of every message.
            return f"The mail server turned us away with code {error.code}."
        case TimeoutError():
            return "The mail server did not answer in time."
        case OSError():
            return "The mail server could not be reached, or hung up."
        case _:
            return f"The mail could not be handed over: {type(error).__name__}."
