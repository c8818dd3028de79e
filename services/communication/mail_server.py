"""SMTP client that sends a mail and reports failures as sentences without addresses."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

import aiosmtplib

from services.communication.domain import SmtpOutcome
from services.communication.smtp_answers import FIRST_PERMANENT_CODE, Answer, Command, Meaning

if TYPE_CHECKING:
    from collections.abc import Mapping

# Limit for a whole attempt. A lease is longer.
ATTEMPT_TIMEOUT_S = 20.0
QUIT_TIMEOUT_S = 1.0
DEFAULT_PORTS = {"smtp": 25, "smtps": 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """SMTP server with its credentials.

    With `uses_tls`, the connection is encrypted from the first byte. Otherwise it is encrypted if the server offers
    STARTTLS. `timeout_s` limits a whole attempt, in seconds.
    """

    host: str
    port: int
    uses_tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_s: float = ATTEMPT_TIMEOUT_S

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Parse "smtp://host:port" or "smtps://user:password@host:port"; raise ValueError for any other URL."""
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

    async def send(self, mail: bytes, *, sender: str, recipients: tuple[str, ...]) -> SmtpOutcome:
        """Send a mail and return the outcome. Raises only CancelledError."""
        client = self._client(sender)
        try:
            answers = await self._send(client, mail, sender, recipients)
        except aiosmtplib.SMTPRecipientsRefused as error:
            answers = {each.recipient: Answer(Command.RCPT, each.code, each.message) for each in error.recipients}
        except aiosmtplib.SMTPSenderRefused as error:
            answers = dict.fromkeys(recipients, Answer(Command.MAIL, error.code, error.message))
        except aiosmtplib.SMTPDataError as error:
            answers = dict.fromkeys(recipients, Answer(Command.DATA, error.code, error.message))
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return SmtpOutcome(
                _reason(error),
                recipients,
                is_in_doubt=client.has_begun_data,
                is_server_trouble=_is_server_trouble(error),
            )
        return _outcome_of(recipients, answers)

    def _client(self, sender: str) -> _Client:
        return _Client(
            hostname=self.host,
            port=self.port,
            use_tls=self.uses_tls,
            username=self.user,
            password=self.password,
            local_hostname=sender.rpartition("@")[2],
            timeout=self.timeout_s,
        )

    async def _send(self, client: _Client, mail: bytes, sender: str, recipients: tuple[str, ...]) -> dict[str, Answer]:
        """Send the mail and return the refused recipients with their answers; raise if all recipients are refused."""
        try:
            async with asyncio.timeout(self.timeout_s):
                await client.connect()
                refusals, _ = await client.sendmail(sender, recipients, mail)
            return {each: Answer(Command.RCPT, answer.code, answer.message) for each, answer in refusals.items()}
        finally:
            await _close(client)


class _Client(aiosmtplib.SMTP):
    """SMTP client that records whether it sent DATA, and never sends RSET.

    aiosmtplib writes the whole mail once the server accepts DATA. From then on, only the server's answer can show
    whether it accepted the mail.
    """

    has_begun_data = False

    async def data(self, message: str | bytes, /, **options: Any) -> aiosmtplib.SMTPResponse:
        self.has_begun_data = True
        return await super().data(message, **options)

    async def rset(self, **_options: Any) -> aiosmtplib.SMTPResponse:
        # Each connection sends one mail, so RSET is not needed. If RSET timed out, its error would replace the server's
        # answer about the mail.
        return aiosmtplib.SMTPResponse(aiosmtplib.SMTPStatus.completed, "")


async def _close(client: aiosmtplib.SMTP) -> None:
    # The outcome of the mail is known by now, so an error while closing does not matter.
    with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(QUIT_TIMEOUT_S):
            await client.quit()
    client.close()


def _outcome_of(recipients: tuple[str, ...], answers: Mapping[str, Answer]) -> SmtpOutcome:
    """Return the outcome of a mail. `answers` maps each refused recipient to the answer of the mail server."""
    if not answers:
        return SmtpOutcome()
    codes = ", ".join(sorted({answer.codes for answer in answers.values()}))
    # A server that accepts the mail for other recipients does not reject this service.
    is_client_rejected = len(answers) == len(recipients) and any(
        answer.meaning is Meaning.CLIENT_REJECTED for answer in answers.values()
    )
    if is_client_rejected:
        remaining = tuple(each for each, answer in answers.items() if answer.meaning is not Meaning.REFUSED)
        return SmtpOutcome(
            f"The mail server rejected this service with code {codes}.", remaining, is_server_trouble=True
        )
    error = f"The mail server refused {len(answers)} of {len(recipients)} recipients with code {codes}."
    remaining = tuple(each for each, answer in answers.items() if answer.meaning is Meaning.LATER)
    return SmtpOutcome(error, remaining, is_refused=not remaining and len(answers) == len(recipients))


def _reason(error: Exception) -> str:
    """Describe an error other than an answer about the mail. The error's own text may contain addresses."""
    if _is_tls_failure(error):
        return "The TLS connection to the mail server failed: check its certificate and TLS version."
    match error:
        case aiosmtplib.SMTPResponseException():
            # The server rejects this service, not the mail. So a wrong password must not make every message DEAD.
            return (
                "The mail server rejected this service with code "
                f"{Answer(Command.MAIL, error.code, error.message).codes}."
            )
        case TimeoutError():
            return "The mail server did not answer in time."
        case OSError():
            return "The mail server is unreachable or closed the connection."
        case _:
            return f"The mail could not be sent: {type(error).__name__}."


def _is_server_trouble(error: Exception) -> bool:
    """Return whether an error other than an answer about the mail would affect every other mail too."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return error.code >= FIRST_PERMANENT_CODE or isinstance(error, aiosmtplib.SMTPAuthenticationError)
    return isinstance(error, (OSError, aiosmtplib.SMTPException))


def _is_tls_failure(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
