"""Intake: stores messages from the broker in the service's own outbox, in order, before acknowledging them.

The service's relay then delivers them like all other messages: in order, with retries, and with dead letters for
messages that cannot be delivered.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from nats.errors import Error
from nats.js.api import AckPolicy
from nats.js.errors import APIError

from contracts.errors import Unavailable
from contracts.services import short_service_name
from mesh.outbox.broker import STREAM, subject_of
from mesh.outbox.envelope import decode_envelope
from mesh.periodic import repeating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from mesh.outbox.broker import Broker
    from mesh.outbox.message import OutboxMessage
    from mesh.outbox.store import OutboxStore

MAX_BATCH = 100
FETCH_TIMEOUT_S = 2.0
# The server deletes a consumer after this idle time, and another process can take over.
INACTIVE_S = 5.0
PAUSE_S = 0.5
CONSUMER_NOT_UNIQUE = 10100  # JSConsumerWQConsumerNotUniqueErr of nats-server

_log = structlog.stdlib.get_logger("solo60.outbox")


class Intake:
    """Consumer that stores the broker's messages for one service in `store`.

    `service` is the full name of the service. `clock` returns the time in seconds since 1970.
    """

    def __init__(
        self, broker: Broker, service: str, store: OutboxStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._broker = broker
        self._service = service
        self._store = store
        self._clock = clock
        self._name = uuid4().hex

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Consume messages while the context is open. If another process consumes, wait until it stops."""
        async with repeating("consuming messages from the broker", self._consume, PAUSE_S):
            yield

    async def _consume(self) -> None:
        """Consume messages until an error. The next run starts at the first unacknowledged message."""
        try:
            stream = self._broker.jetstream()
        except Unavailable:
            return  # the broker has logged the lost connection
        try:
            if not await self._make_consumer(stream):
                return
            try:
                await self._consume_in_order(stream)
            finally:
                with suppress(Error, OSError):  # the server deletes an idle consumer
                    await stream.delete_consumer(STREAM, self._name)
        except (Error, OSError) as error:
            raise Unavailable from error

    async def _make_consumer(self, stream: JetStreamContext) -> bool:
        """Create a consumer at the first unacknowledged message; return False if another process has one."""
        with suppress(APIError):  # fails if this process has none yet
            await stream.delete_consumer(STREAM, self._name)
        try:
            await stream.add_consumer(
                STREAM,
                name=self._name,
                filter_subject=subject_of(short_service_name(self._service)),
                ack_policy=AckPolicy.EXPLICIT,
                inactive_threshold=INACTIVE_S,
            )
        except APIError as error:
            if error.err_code == CONSUMER_NOT_UNIQUE:
                return False
            raise
        return True

    async def _consume_in_order(self, stream: JetStreamContext) -> None:
        subscription = await stream.pull_subscribe_bind(self._name, stream=STREAM)
        count = 0
        try:
            while True:
                try:
                    batch = await subscription.fetch(MAX_BATCH, FETCH_TIMEOUT_S)
                except TimeoutError:
                    await subscription.consumer_info()  # raises if the consumer is gone
                    continue
                if [each.metadata.sequence.consumer for each in batch] != [*range(count + 1, count + len(batch) + 1)]:
                    _log.warning("gap in the messages from the broker, restarting at the first unacknowledged one")
                    return
                count += len(batch)
                await self._store_all(batch)
        finally:
            with suppress(Error, OSError):
                await subscription.unsubscribe()

    async def _store_all(self, batch: list[Msg]) -> None:
        messages = [self._message_in(received) for received in batch]
        await self._store.receive([message for message in messages if message is not None])
        for received in batch:
            await received.ack()

    def _message_in(self, received: Msg) -> OutboxMessage | None:
        try:
            message = decode_envelope(received.data, self._clock())
        except ValueError:
            message = None
        # Drop messages for other services: this service would call them with its own key.
        if message is None or message.destination.partition("/")[0] != self._service:
            _log.error("dropped a broker message: malformed or for another service", size_bytes=len(received.data))
            return None
        return message
