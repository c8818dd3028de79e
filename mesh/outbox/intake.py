"""Intake: what others left at the broker is stored in the own outbox, in order, before the broker forgets it.

From there the service's relay delivers it as it delivers everything: in order, again where it failed, to the dead
letters where nothing helps.
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
from contracts.services import short_name
from mesh.outbox.broker import STREAM, subject_of
from mesh.outbox.envelope import unseal
from mesh.upkeep import repeating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from mesh.outbox.broker import Broker
    from mesh.outbox.message import Message
    from mesh.outbox.store import OutboxStore

LARGEST_BATCH = 100
FETCH_TIMEOUT_S = 2.0
# Another process takes over when this one has asked for nothing for so long.
INACTIVE_S = 5.0
PAUSE_S = 0.5
ANOTHER_HAS_IT = 10100  # JSConsumerWQConsumerNotUniqueErr of nats-server

_log = structlog.stdlib.get_logger("solo60.outbox")


class Intake:
    """Takes what is for `service`, by its full name, from `broker` into `store`; `clock` is in seconds since 1970."""

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
        """Take in for the time of the context, or wait until the process that does no longer does."""
        async with repeating("taking in messages", self._take_in, PAUSE_S):
            yield

    async def _take_in(self) -> None:
        """Take in until something is in doubt; who begins again, begins at the first that is not acknowledged."""
        try:
            stream = self._broker.jetstream()
        except Unavailable:
            return  # who keeps the connection has said so
        try:
            if not await self._make_consumer(stream):
                return
            try:
                await self._take_in_order(stream)
            finally:
                with suppress(Error, OSError):  # it ends by itself when nobody asks it for anything
                    await stream.delete_consumer(STREAM, self._name)
        except (Error, OSError) as error:
            raise Unavailable from error

    async def _make_consumer(self, stream: JetStreamContext) -> bool:
        """Begin at the first message that is not acknowledged; False where another process takes in."""
        with suppress(APIError):  # there is none of a time before this
            await stream.delete_consumer(STREAM, self._name)
        try:
            await stream.add_consumer(
                STREAM,
                name=self._name,
                filter_subject=subject_of(short_name(self._service)),
                ack_policy=AckPolicy.EXPLICIT,
                inactive_threshold=INACTIVE_S,
            )
        except APIError as error:
            if error.err_code == ANOTHER_HAS_IT:
                return False
            raise
        return True

    async def _take_in_order(self, stream: JetStreamContext) -> None:
        subscription = await stream.pull_subscribe_bind(self._name, stream=STREAM)
        count = 0
        try:
            while True:
                try:
                    batch = await subscription.fetch(LARGEST_BATCH, FETCH_TIMEOUT_S)
                except TimeoutError:
                    await subscription.consumer_info()  # raises where it has not been quiet, but is gone
                    continue
                if [each.metadata.sequence.consumer for each in batch] != [*range(count + 1, count + len(batch) + 1)]:
                    _log.warning("messages got lost between the broker and here: taking them in again")
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

    def _message_in(self, received: Msg) -> Message | None:
        try:
            message = unseal(received.data, self._clock())
        except ValueError:
            message = None
        # Nobody makes this service call another one in its name.
        if message is None or message.destination.partition("/")[0] != self._service:
            _log.error("what came from the broker is no message for this service", size_bytes=len(received.data))
            return None
        return message
