"""Messages in the outboxes of the services."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from contracts.errors import OutboxMessageNotFound, OutboxMessageSettled, ServiceError
from contracts.services import SERVICE_NAMES
from mesh.failure import Failure
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from mesh.serving.channel import Channels
    from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceAsyncStub


class UnknownPage(Failure):
    """A cursor is not the `next_cursor` of a page."""


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages of several outboxes with their service, newest first.

    `failures` has the services that did not answer. `next_cursor` is empty on the last page.
    """

    messages: list[tuple[str, pb.OutboxMessage]]
    failures: dict[str, ServiceError]
    next_cursor: str


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


async def retry_dead_letters(stub: OutboxServiceAsyncStub) -> int:
    """Make all dead letters of one outbox due now, and return their number.

    Messages that are delivered or dropped meanwhile are skipped.
    """
    wanted = pb.ListMessagesRequest(status=pb.OUTBOX_STATUS_DEAD)
    count = 0
    for message_id in [each.message_id async for each in all_messages(stub, wanted)]:
        try:
            await stub.RetryMessage(pb.RetryMessageRequest(message_id=message_id))
        except (OutboxMessageNotFound, OutboxMessageSettled):
            continue
        count += 1
    return count


async def page_of_messages(
    channels: Channels, services: Sequence[str], wanted: pb.ListMessagesRequest, size: int, cursor: str = ""
) -> MessagePage:
    """Return the `size` newest messages of several outboxes, or those after the page with this `next_cursor`.

    Raises UnknownPage if `cursor` is not of a page.
    """
    tokens = _tokens_of(cursor) if cursor else dict.fromkeys(services, "")
    lists = [
        _OutboxList(channels.stub(OutboxServiceStub, at=name), name, wanted, tokens[name])
        for name in services
        if name in tokens
    ]
    await asyncio.gather(*(each.read(size) for each in lists))
    answered = [each for each in lists if each.failure is None]
    entries = heapq.merge(*(each.entries() for each in answered), key=lambda entry: entry[0], reverse=True)
    taken = [(owner, message) for _, owner, message in islice(entries, size)]
    counts = Counter(owner.name for owner, _ in taken)
    await asyncio.gather(*(each.skip(counts[each.name]) for each in answered))
    return MessagePage(
        [(owner.name, message) for owner, message in taken],
        {each.name: each.failure for each in lists if each.failure is not None},
        _cursor_of(lists) if any(each.token is not None for each in answered) else "",
    )


class _OutboxList:
    """Position in the list of one outbox. `token` is that of the next page, or None at the end."""

    def __init__(self, stub: OutboxServiceAsyncStub, name: str, wanted: pb.ListMessagesRequest, token: str) -> None:
        self.name = name
        self.token: str | None = token
        self.failure: ServiceError | None = None
        self._stub = stub
        self._wanted = wanted
        self._page = pb.ListMessagesResponse()

    async def read(self, size: int) -> None:
        """Read one page."""
        try:
            self._page = await self._ask(size)
        except ServiceError as error:
            self.failure = error

    def entries(self) -> list[tuple[float, _OutboxList, pb.OutboxMessage]]:
        """Return each message with a time that never increases.

        A retried dead letter comes first in its outbox although it is old. It must not hide the messages behind it, so
        each message counts as at least as new as those behind it.
        """
        newest_s, entries = 0.0, []
        for message in reversed(self._page.messages):
            newest_s = max(newest_s, message.create_time.ToNanoseconds() / 1e9)
            entries.append((newest_s, self, message))
        return entries[::-1]

    async def skip(self, number: int) -> None:
        """Move behind the first `number` messages of the page."""
        try:
            page = self._page if number == len(self._page.messages) else await self._ask(number) if number else None
        except ServiceError as error:
            self.failure = error
        else:
            self.token = self.token if page is None else page.next_page_token or None

    async def _ask(self, size: int) -> pb.ListMessagesResponse:
        request = pb.ListMessagesRequest()
        request.CopyFrom(self._wanted)
        request.page_size, request.page_token = size, self.token or ""
        return await self._stub.ListMessages(request)


def _cursor_of(lists: Iterable[_OutboxList]) -> str:
    return ",".join(f"{each.name}:{each.token}" for each in lists if each.token is not None)


def _tokens_of(cursor: str) -> dict[str, str]:
    parts = cursor.split(",")
    if not all(part.count(":") == 1 for part in parts):
        raise UnknownPage("page: this is not a page of the list. Begin at the first page.")
    return {name: token for name, _, token in (part.partition(":") for part in parts)}
