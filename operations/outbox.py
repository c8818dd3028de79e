"""Messages in the outboxes of the services."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contracts.errors import ServiceError
from contracts.services import SERVICE_NAMES
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.channel import Channels
    from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceAsyncStub


async def newest_of_all(
    channels: Channels, wanted: pb.ListMessagesRequest, number: int
) -> dict[str, list[pb.OutboxMessage] | ServiceError]:
    """Return the newest `number` messages of each service's outbox, or the error if the call failed."""

    async def ask(name: str) -> list[pb.OutboxMessage] | ServiceError:
        try:
            return await newest(channels.stub(OutboxServiceStub, at=name), wanted, number)
        except ServiceError as error:
            return error

    answers = await asyncio.gather(*map(ask, SERVICE_NAMES))
    return dict(zip(SERVICE_NAMES, answers, strict=True))


async def newest(stub: OutboxServiceAsyncStub, wanted: pb.ListMessagesRequest, number: int) -> list[pb.OutboxMessage]:
    """Return at most `number` messages of one outbox, newest first."""
    found: list[pb.OutboxMessage] = []
    async for message in all_messages(stub, wanted):
        found.append(message)
        if len(found) == number:
            break
    return found


async def all_messages(stub: OutboxServiceAsyncStub, wanted: pb.ListMessagesRequest) -> AsyncIterator[pb.OutboxMessage]:
    """Yield every message of an outbox, page by page."""
    request = pb.ListMessagesRequest()
    request.CopyFrom(wanted)
    while True:
        page = await stub.ListMessages(request)
        for message in page.messages:
            yield message
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
