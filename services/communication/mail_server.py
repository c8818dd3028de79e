"""The mail server: takes a mail over SMTP, or says in a sentence without addresses why it did not."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

import aiosmtplib

from services.communication.domain import Outcome
from services.communication.smtp_answers import FIRST_FINAL_CODE, Answer, Command, Meaning

if TYPE_CHECKING:
    from collections.abc import Mapping

# A whole attempt; a lease outlives it.
PATIENCE_S = 20.0
FAREWELL_S = 1.0
DEFAULT_PORTS = {"smtp": 25, "smtps": 465}


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
            answers = await self._converse(client, mail, sender, recipients)
        except aiosmtplib.SMTPRecipientsRefused as error:
            answers = {each.recipient: Answer(Command.RCPT, each.code, each.message) for each in error.recipients}
        except aiosmtplib.SMTPSenderRefused as error:
            answers = dict.fromkeys(recipients, Answer(Command.MAIL, error.code, error.message))
        except aiosmtplib.SMTPDataError as error:
            answers = dict.fromkeys(recipients, Answer(Command.DATA, error.code, error.message))
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Outcome(
                _reason(error),
                recipients,
                is_in_doubt=client.has_begun_data,
                is_server_trouble=_is_server_trouble(error),
            )
        return _judge(recipients, answers)

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

    async def _converse(
        self, client: _Client, mail: bytes, sender: str, recipients: tuple[str, ...]
    ) -> dict[str, Answer]:
        """Send the mail; return the recipients that the server refused, if it accepted others, with its answers."""
        try:
            async with asyncio.timeout(self.patience_s):
                await client.connect()
                refusals, _ = await client.sendmail(sender, recipients, mail)
            return {each: Answer(Command.RCPT, answer.code, answer.message) for each, answer in refusals.items()}
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


def _judge(recipients: tuple[str, ...], answers: Mapping[str, Answer]) -> Outcome:
    """Turn the answers about the refused recipients into an outcome."""
    if not answers:
        return Outcome()
    told = ", ".join(sorted({answer.codes for answer in answers.values()}))
    # A server that accepts the mail for others has nothing against us.
    is_turned_away = len(answers) == len(recipients) and any(
        answer.meaning is Meaning.TURNED_AWAY for answer in answers.values()
    )
    if is_turned_away:
        remaining = tuple(each for each, answer in answers.items() if answer.meaning is not Meaning.REFUSED)
        return Outcome(f"The mail server turned us away with code {told}.", remaining, is_server_trouble=True)
    error = f"The mail server refused {len(answers)} of {len(recipients)} recipients with code {told}."
    remaining = tuple(each for each, answer in answers.items() if answer.meaning is Meaning.LATER)
    return Outcome(error, remaining, is_refused=not remaining and len(answers) == len(recipients))


def _reason(error: Exception) -> str:
    """Say why no mail could be offered; the error's own words may hold addresses, so none of them is repeated."""
    if _is_tls_failure(error):
        return "No encrypted connection to the mail server could be made: its certificate or version of TLS is refused."
    match error:
        case aiosmtplib.SMTPResponseException():
            # It turns us away, not this mail: a wrong password must not be the end of every message.
            return f"The mail server turned us away with code {Answer(Command.MAIL, error.code, error.message).codes}."
        case TimeoutError():
            return "The mail server did not answer in time."
        case OSError():
            return "The mail server could not be reached, or hung up."
        case _:
            return f"The mail could not be handed over: {type(error).__name__}."


def _is_server_trouble(error: Exception) -> bool:
    """Whether an error before any answer about a mail would meet every other mail as well."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return error.code >= FIRST_FINAL_CODE or isinstance(error, aiosmtplib.SMTPAuthenticationError)
    return isinstance(error, (OSError, aiosmtplib.SMTPException))


def _is_tls_failure(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
