"""Contexts for handlers that cannot use gRPC's own context inside the chain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contracts.metadata import CORRELATION_ID

if TYPE_CHECKING:
    import grpc

    from interceptors.chain.call import Call
    from interceptors.chain.messages import Messages
    from interceptors.chain.untyped import AnyAttribute, AnyContext, Argument


class StreamContext:
    """Context of a streaming call for its handler: `read` and `write` use messages instead of bytes.

    Everything else is delegated to gRPC's context. The correlation id is sent with the handler's initial metadata, or
    else before the first response. The correlation id cannot be sent earlier, because gRPC accepts initial metadata
    once and the handler may still send its own.
    """

    def __init__(self, call: Call, messages: Messages) -> None:
        self.call = call
        self.has_sent_metadata = not call.context.correlation_id
        self._messages = messages

    async def read(self) -> object:
        raw = await self.call.servicer_context.read()
        if not isinstance(raw, bytes):
            return raw
        holder = [raw]
        del raw
        return self._messages.parse(self.call, holder.pop())

    async def write(self, message: object) -> None:
        if not self.has_sent_metadata:
            await self.send_metadata()
        holder = [message]
        del message
        await self.call.servicer_context.write(self._messages.serialize(self.call, holder.pop()))

    async def send_initial_metadata(self, initial_metadata: Argument) -> None:
        own = () if self.has_sent_metadata else ((CORRELATION_ID, self.call.context.correlation_id),)
        self.has_sent_metadata = True
        await self.call.servicer_context.send_initial_metadata((*initial_metadata, *own))

    async def send_metadata(self) -> None:
        """Send the initial metadata."""
        await self.send_initial_metadata(())

    def __getattr__(self, name: str) -> AnyAttribute:
        return getattr(self.call.servicer_context, name)


class BlockingContext:
    """Context of a call for a handler that runs in a thread: methods block instead of being awaited."""

    def __init__(self, context: AnyContext, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop

    def abort(self, *status: Argument) -> None:
        self._wait_for("abort", *status)

    def abort_with_status(self, status: grpc.Status) -> None:
        self._wait_for("abort_with_status", status)

    def send_initial_metadata(self, initial_metadata: Argument) -> None:
        self._wait_for("send_initial_metadata", initial_metadata)

    def _wait_for(self, name: str, *arguments: Argument) -> None:
        asyncio.run_coroutine_threadsafe(getattr(self._context, name)(*arguments), self._loop).result()

    def __getattr__(self, name: str) -> AnyAttribute:
        return getattr(self._context, name)
