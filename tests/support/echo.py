"""Echo service of the examples, with a hook in which tests can raise or wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from interceptors.context import current_context
from interceptors.deadline.interceptor import remaining_s
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SCOPES = ("example.echo", "example.keep")


async def do_nothing() -> None:
    """Let a handler answer at once."""


class EchoServicer(EchoServiceServicer):
    """Echo servicer. Every handler awaits `hook` before it answers. Tests replace `hook` to raise or wait in it.

    `heard` lists place, text and idempotency key of each received event, including repetitions and events for which
    `hook` raises.
    """

    hook: Callable[[], Awaitable[object]] = staticmethod(do_nothing)

    def __init__(self) -> None:
        self.entered = 0
        self.heard: list[tuple[str, str, str]] = []

    if TYPE_CHECKING:
        # No program implements this contract-only method, but its generated stub is abstract.
        async def Promise(self, request: echo_pb2.PromiseRequest, context: Any) -> echo_pb2.PromiseResponse: ...

    async def _enter(self) -> None:
        self.entered += 1
        await self.hook()

    async def Echo(self, request: echo_pb2.EchoRequest, context: Any) -> echo_pb2.EchoResponse:
        await self._enter()
        call = current_context()
        assert call is not None
        response = echo_pb2.EchoResponse(
            text=request.text, caller=call.caller, key_owner=call.caller, correlation_id=call.correlation_id
        )
        response.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=remaining_s() or 0))
        return response

    async def EchoLimited(
        self,
        request: echo_pb2.EchoLimitedRequest,
        context: Any,
    ) -> echo_pb2.EchoLimitedResponse:
        await self._enter()
        return echo_pb2.EchoLimitedResponse(text=request.text)

    async def EchoLimitedByText(
        self,
        request: echo_pb2.EchoLimitedByTextRequest,
        context: Any,
    ) -> echo_pb2.EchoLimitedByTextResponse:
        await self._enter()
        return echo_pb2.EchoLimitedByTextResponse(text=request.text)

    async def EchoHedged(
        self,
        request: echo_pb2.EchoHedgedRequest,
        context: Any,
    ) -> echo_pb2.EchoHedgedResponse:
        await self._enter()
        return echo_pb2.EchoHedgedResponse(text=request.text)

    async def EchoSheddable(
        self,
        request: echo_pb2.EchoSheddableRequest,
        context: Any,
    ) -> echo_pb2.EchoSheddableResponse:
        await self._enter()
        return echo_pb2.EchoSheddableResponse(text=request.text)

    async def EchoCritical(
        self,
        request: echo_pb2.EchoCriticalRequest,
        context: Any,
    ) -> echo_pb2.EchoCriticalResponse:
        await self._enter()
        return echo_pb2.EchoCriticalResponse(text=request.text)

    async def EchoDeprecated(
        self,
        request: echo_pb2.EchoDeprecatedRequest,
        context: Any,
    ) -> echo_pb2.EchoDeprecatedResponse:
        await self._enter()
        return echo_pb2.EchoDeprecatedResponse(text=request.text)

    async def EchoMany(
        self,
        request: echo_pb2.EchoManyRequest,
        context: Any,
    ) -> AsyncIterator[echo_pb2.EchoManyResponse]:
        for _ in range(request.repeat):
            await self._enter()
            yield echo_pb2.EchoManyResponse(text=request.text)

    async def EchoJoined(
        self,
        request_iterator: AsyncIterator[echo_pb2.EchoJoinedRequest],
        context: Any,
    ) -> echo_pb2.EchoJoinedResponse:
        await self._enter()
        return echo_pb2.EchoJoinedResponse(text=" ".join([request.text async for request in request_iterator]))

    async def EchoEach(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[echo_pb2.EchoEachRequest],
        context: Any,
    ) -> None:
        await self._enter()
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(echo_pb2.EchoEachResponse(text=request.text))

    async def Keep(self, request: echo_pb2.KeepRequest, context: Any) -> echo_pb2.KeepResponse:
        await self._enter()
        call = current_context()
        assert call is not None
        return echo_pb2.KeepResponse(idempotency_key=call.idempotency_key)

    async def OnHeard(self, request: echo_pb2.OnHeardRequest, context: Any) -> echo_pb2.OnHeardResponse:
        call = current_context()
        assert call is not None
        self.heard.append((request.event.place, request.event.text, call.idempotency_key))
        await self._enter()
        return echo_pb2.OnHeardResponse()
