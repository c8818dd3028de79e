"""Broker: a NATS server with JetStream, which keeps what one outbox leaves to another until that has stored it.

It may be away for any time and come back: the connection is made anew for as long as the process lives. What it has
acknowledged lies in its files. docs/outbox-nats.md says what that is worth.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog
from nats.aio.client import Client
from nats.errors import Error, MaxPayloadError
from nats.js.api import DiscardPolicy, Header, RetentionPolicy, StorageType
from nats.js.errors import NoStreamResponseError, NotFoundError

from contracts.errors import MessageTooLarge, Unavailable
from contracts.services import short_name
from mesh.config import SettingsError
from mesh.outbox.envelope import seal
from mesh.upkeep import repeating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nats.js import JetStreamContext

    from mesh.outbox.message import Message

STREAM = "solo60-outbox"
SUBJECTS = "solo60.outbox.*"
# Who publishes again within this time, as after a lost answer or a lost lease, adds nothing. Later, the receiver's own
# table knows what it has.
DUPLICATE_WINDOW_S = 120.0
# When nobody takes in for so long that the stream is full, senders keep what they have.
LARGEST_STREAM_BYTES = 1024**3

CONNECT_TIMEOUT_S = 2
# A server that is gone without a word is noticed after three of these.
PING_INTERVAL_S = 10
ANSWER_TIMEOUT_S = 2.0
RECONNECT_PAUSE_S = 0.5

_log = structlog.stdlib.get_logger("solo60.outbox")


def subject_of(service: str) -> str:
    """Return the subject of what is for the service with this short name."""
    return SUBJECTS.replace("*", service)


class Broker:
    """A connection to the server, or one of the servers, at `url`; `name` is how this end is called there.

    `clock` is the time in seconds since 1970.
    """

    def __init__(self, url: str, name: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._servers = url.split(",")
        self._name = name
        self._client: Client | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stay connected for the time of the context; it may begin without anybody there.

        Raises SettingsError where somebody is there and refuses us.
        """
        await self._try_to_connect()
        if self._client is None:
            _log.warning("no broker at NATS_URL: what is for other services waits")
        try:
            async with repeating("keeping the connection to the broker", self._keep_connected, RECONNECT_PAUSE_S):
                yield
        finally:
            if self._client is not None:
                await _close(self._client)

    def jetstream(self) -> JetStreamContext:
        """Return what the mesh uses of the server; raise Unavailable where there is no connection now."""
        if self._client is None or not self._client.is_connected:
            raise Unavailable
        return self._client.jetstream(timeout=ANSWER_TIMEOUT_S)

    async def publish(self, message: Message) -> None:
        """Have the server keep a message for its receiver, once for each id; return when it has said that it does.

        Raises MessageTooLarge, or Unavailable where it did not say so.
        """
        stream = self.jetstream()
        subject = subject_of(short_name(message.destination))
        headers = {Header.MSG_ID.value: str(message.message_id)}
        try:
            await stream.publish(subject, seal(message, self._clock()), stream=STREAM, headers=headers)
        except MaxPayloadError:
            raise MessageTooLarge from None
        except NoStreamResponseError as error:  # somebody has deleted it
            with suppress(Error):
                await _make_stream(stream)
            raise Unavailable from error
        except Exception as error:  # whatever happens between here and the server, the message is not to blame
            raise Unavailable from error

    async def _keep_connected(self) -> None:
        # It is asked, for it calls nobody back where the loss met it sending.
        if self._client is not None and not self._client.is_connected:
            _log.warning("connection to the broker lost")
            self._client = None
        if self._client is None:
            try:
                await self._try_to_connect()
            except SettingsError as error:  # it was good once, and may be again
                _log.warning("the broker refuses us", error=str(error))

    async def _try_to_connect(self) -> None:
        client = Client()
        try:
            await self._connect(client)
        except (Error, OSError, TimeoutError) as error:
            await _close(client)
            if "authorization" in str(error).lower():
                raise SettingsError("NATS_URL: the server refuses this user and password.") from None
            _log.debug("no connection to the broker", error=type(error).__name__)
        except BaseException:
            await _close(client)
            raise
        else:
            _log.info("connected to the broker")
            self._client = client

    async def _connect(self, client: Client) -> None:
        await client.connect(
            self._servers,
            name=self._name,
            # By itself the client would keep what is sent meanwhile, and give up for good on some errors.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            # By itself it would wait for ever to send what a lost connection does not take.
            flush_timeout=ANSWER_TIMEOUT_S,
            error_cb=_note_error,
        )
        await _make_stream(client.jetstream(timeout=ANSWER_TIMEOUT_S))


async def _note_error(error: Exception) -> None:
    _log.debug("trouble with the broker", error=type(error).__name__)


async def _close(client: Client) -> None:
    with suppress(Error, OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await client.close()


async def _make_stream(stream: JetStreamContext) -> None:
    """Make the stream, unless it is there: then its limits and replicas are the operator's.

    Raises SettingsError where it keeps what has been taken from it: that would be taken again and again.
    """
    try:
        info = await stream.stream_info(STREAM)
    except NotFoundError:
        info = await stream.add_stream(
            name=STREAM,
            subjects=[SUBJECTS],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_bytes=LARGEST_STREAM_BYTES,
            duplicate_window=DUPLICATE_WINDOW_S,
        )
    if info.config.retention != RetentionPolicy.WORK_QUEUE:
        raise SettingsError(f"NATS_URL: the stream {STREAM} at that server is no work queue.")
