"""NATS JetStream broker: stores messages of one outbox until the receiving outbox has stored them.

The connection is retried for as long as the process lives, so the server may be down for any time. The server stores
acknowledged messages in files. docs/outbox-nats.md describes their durability.
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
from contracts.services import short_service_name
from mesh.config import SettingsError
from mesh.outbox.envelope import encode_envelope
from mesh.periodic import repeating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nats.js import JetStreamContext

    from mesh.outbox.message import OutboxMessage

STREAM = "solo60-outbox"
SUBJECTS = "solo60.outbox.*"
# JetStream drops a message id that it received within this time, for example after a lost acknowledgement or lease. The
# receiver's outbox table drops later duplicates.
DUPLICATE_WINDOW_S = 120.0
# A full stream rejects new messages, which then stay in the senders' outboxes.
MAX_STREAM_BYTES = 1024**3

CONNECT_TIMEOUT_S = 2
# An unresponsive server is detected after three of these.
PING_INTERVAL_S = 10
RESPONSE_TIMEOUT_S = 2.0
RECONNECT_PAUSE_S = 0.5

_log = structlog.stdlib.get_logger("solo60.outbox")


def subject_of(service: str) -> str:
    """Return the subject of messages for the service with this short name."""
    return SUBJECTS.replace("*", service)


class Broker:
    """Connection to one of the NATS servers at `url` (comma-separated); `name` identifies this client there.

    `clock` returns the time in seconds since 1970.
    """

    def __init__(self, url: str, name: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._servers = url.split(",")
        self._name = name
        self._client: Client | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stay connected while the context is open, and retry if no server is reachable.

        Raises SettingsError if the server rejects the user and password, or if its stream is not a work queue.
        """
        await self._try_to_connect()
        if self._client is None:
            _log.warning("no connection to the broker at NATS_URL yet, retrying")
        try:
            async with repeating("reconnecting to the broker", self._keep_connected, RECONNECT_PAUSE_S):
                yield
        finally:
            if self._client is not None:
                await _close(self._client)

    def jetstream(self) -> JetStreamContext:
        """Return the JetStream API of the connection; raise Unavailable if there is no connection."""
        if self._client is None or not self._client.is_connected:
            raise Unavailable
        return self._client.jetstream(timeout=RESPONSE_TIMEOUT_S)

    async def publish(self, message: OutboxMessage) -> None:
        """Publish a message, deduplicated by its id; return after the server has acknowledged it.

        Raises MessageTooLarge, or Unavailable if the server did not acknowledge.
        """
        stream = self.jetstream()
        subject = subject_of(short_service_name(message.destination))
        headers = {Header.MSG_ID.value: str(message.message_id)}
        try:
            await stream.publish(subject, encode_envelope(message, self._clock()), stream=STREAM, headers=headers)
        except MaxPayloadError:
            raise MessageTooLarge from None
        except NoStreamResponseError as error:  # the stream was deleted
            with suppress(Error):
                await _make_stream(stream)
            raise Unavailable from error
        except Exception as error:  # not the message's fault, so it must stay pending
            raise Unavailable from error

    async def _keep_connected(self) -> None:
        # Poll the state, because nats-py runs no callback if a send detects the lost connection.
        if self._client is not None and not self._client.is_connected:
            _log.warning("connection to the broker lost")
            self._client = None
        if self._client is None:
            try:
                await self._try_to_connect()
            except SettingsError as error:  # the service runs already, so retry instead of stopping it
                _log.warning("the broker rejects this service", error=str(error))

    async def _try_to_connect(self) -> None:
        client = Client()
        try:
            await self._connect(client)
        except (Error, OSError, TimeoutError) as error:
            await _close(client)
            if "authorization" in str(error).lower():
                raise SettingsError("NATS_URL: the server rejects this user and password.") from None
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
            # nats-py's own reconnect would buffer messages meanwhile, and stop for good after some errors.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            # Without a timeout, a flush on a lost connection waits forever.
            flush_timeout=RESPONSE_TIMEOUT_S,
            error_cb=_log_error,
        )
        await _make_stream(client.jetstream(timeout=RESPONSE_TIMEOUT_S))


async def _log_error(error: Exception) -> None:
    _log.debug("error from the NATS client", error=type(error).__name__)


async def _close(client: Client) -> None:
    with suppress(Error, OSError, TimeoutError):
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            await client.close()


async def _make_stream(stream: JetStreamContext) -> None:
    """Create the stream if it is missing; do not change the operator's limits and replicas of an existing stream.

    Raises SettingsError if the stream is not a work queue, because other streams retain acknowledged messages and would
    deliver them to each new consumer.
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
            max_bytes=MAX_STREAM_BYTES,
            duplicate_window=DUPLICATE_WINDOW_S,
        )
    if info.config.retention != RetentionPolicy.WORK_QUEUE:
        raise SettingsError(f"NATS_URL: the stream {STREAM} must have work queue retention.")
