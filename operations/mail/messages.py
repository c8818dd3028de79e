"""Messages of the communication service: failed mail, and its retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import MessageNotRetryable
from solo60.communication.v1 import communication_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub

RETRYABLE = (pb.MESSAGE_STATUS_FAILED, pb.MESSAGE_STATUS_DEAD)


async def retry_failed(stub: CommunicationServiceAsyncStub) -> tuple[int, int]:
    """Retry all failed messages that cannot have been sent; return the numbers of queued and of skipped messages.

    Messages that may have been sent are skipped. The service may retry a listed message by itself in the meantime; such
    a message is not counted.
    """
    found = [message async for message in all_failed(stub)]
    ids = [message.message_id for message in found if not message.may_have_been_sent]
    count = 0
    for message_id in ids:
        try:
            await stub.RetryMessage(pb.RetryMessageRequest(message_id=message_id))
        except MessageNotRetryable:
            continue
        count += 1
    return count, len(found) - len(ids)


async def all_failed(stub: CommunicationServiceAsyncStub) -> AsyncIterator[pb.Message]:
    """Yield every failed message, page by page."""
    request = pb.ListFailedMessagesRequest(page_size=100)
    while True:
        page = await stub.ListFailedMessages(request)
        for message in page.messages:
            yield message
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
