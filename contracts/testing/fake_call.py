"""Calls of a fake server: admission, scripted outcome, replay of idempotent answers, and rich errors."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from contracts.errors import DeadlineExceeded, IdempotencyKeyReused, Internal, InvalidRequest, ServiceError
from contracts.metadata import CORRELATION_ID, REPLAYED, STATUS_DETAILS
from contracts.request_violations import check_request
from contracts.status import status_of_error
from contracts.testing.admission import Caller, caller_of, check_scopes, check_size, idempotency_key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from contracts.method import Method
    from contracts.testing.fake_server import FakeServer
    from contracts.testing.script import Script

    Context = grpc.aio.ServicerContext[Any, Any]
    Incoming = bytes | AsyncIterator[bytes]

# Keyed by (request streaming, response streaming). Without (de)serializers, gRPC's core passes bytes through.
HANDLER_FACTORIES: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


@dataclass(slots=True)
class _Answered:
    """Requests and answers of the first successful call with an idempotency key; the lock makes later calls wait."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    requests: list[Message] | None = None
    answers: list[Message] = field(default_factory=list)


@dataclass(slots=True)
class _Call:
    """One call of a fake server; `sent` are its answers so far."""

    method: Method
    context: Context
    caller: Caller
    key: str
    time_left_s: float
    sent: list[Message] = field(default_factory=list)
    is_replayed: bool = False

    async def send(self, message: Message) -> None:
        """Send one answer of a stream, or store the only one."""
        self.sent.append(message)
        if self.method.response_streaming:
            await self.context.write(message.SerializeToString())


class FakeCalls:
    """Serves the calls of a fake server."""

    def __init__(self, server: FakeServer, deadline_factor: float) -> None:
        self._server = server
        self._deadline_factor = deadline_factor
        self._answered: dict[tuple[str, str, str], _Answered] = {}

    def serving(self, method: Method) -> Callable[[Incoming, Context], Awaitable[bytes | None]]:
        """Return the function that serves the calls of a method."""
        return partial(self._serve, method)

    async def _serve(self, method: Method, incoming: Incoming, context: Context) -> bytes | None:
        fields = cast("Sequence[tuple[str, str]]", context.invocation_metadata() or ())
        metadata = dict(fields)
        try:
            check_size(fields)
            call = self._admitted(method, metadata, context)
            await self._within_deadline(call, incoming)
        except ServiceError as error:
            rejection = error
        else:
            if call.is_replayed:
                context.set_trailing_metadata(((REPLAYED, "true"),))
            return None if method.response_streaming else call.sent[0].SerializeToString()
        details = status_of_error(rejection, metadata.get(CORRELATION_ID) or str(uuid.uuid4())).SerializeToString()
        trailing = ((STATUS_DETAILS, details),) if rejection.reason else ()
        await context.abort(rejection.code, rejection.message, trailing)
        raise AssertionError("abort must raise an exception.")

    def _admitted(self, method: Method, metadata: dict[str, str], context: Context) -> _Call:
        caller = caller_of(metadata, self._server.callers)
        check_scopes(method, caller)
        time_left_s = cast("float | None", context.time_remaining())
        if time_left_s is None:
            problem = f"{caller.name} called {method.full_name} without a deadline: use a client with the contract's."
            raise Internal(self._server.note(problem))
        return _Call(method, context, caller, idempotency_key_of(method, metadata), time_left_s)

    async def _within_deadline(self, call: _Call, incoming: Incoming) -> None:
        limit_s = call.method.policy.deadline_s * self._deadline_factor
        try:
            async with asyncio.timeout(limit_s):
                await self._answer(call, incoming)
        except TimeoutError:
            raise DeadlineExceeded(f"{call.method.full_name} did not finish in {limit_s:.3g} s.") from None

    async def _answer(self, call: _Call, incoming: Incoming) -> None:
        if call.method.request_streaming and call.method.response_streaming:
            await self._converse(call, cast("AsyncIterator[bytes]", incoming))
            return
        if isinstance(incoming, bytes):
            requests = [_parsed(call.method, incoming)]
        else:
            requests = [_parsed(call.method, raw) async for raw in incoming]
        if not call.key:
            await self._follow_script(call, requests)
            return
        answered = self._answered.setdefault((call.caller.name, call.method.path, call.key), _Answered())
        async with answered.lock:
            await self._answer_once(call, requests, answered)

    async def _answer_once(self, call: _Call, requests: list[Message], answered: _Answered) -> None:
        """Repeat the stored answers of the key, or follow the script and store its answers."""
        if answered.requests is None:
            await self._follow_script(call, requests)
            answered.requests, answered.answers = requests, call.sent
            return
        if answered.requests != requests:
            raise IdempotencyKeyReused
        call.is_replayed = True
        for message in answered.answers:
            await call.send(message)

    async def _follow_script(self, call: _Call, requests: list[Message]) -> None:
        script = self._script_for(call, requests)
        self._server.note_call(script, tuple(requests), call.time_left_s)
        await asyncio.sleep(script.latency_s)
        for each in script.outcome():
            if isinstance(each, ServiceError):
                raise _fresh(each)
            await call.send(each)

    async def _converse(self, call: _Call, incoming: AsyncIterator[bytes]) -> None:
        """Send one answer after each request, and the rest after the last request."""
        requests: list[Message] = []
        outcome: list[Message | ServiceError] | None = None
        async for raw in incoming:
            requests.append(_parsed(call.method, raw))
            script = self._script_for(call, requests, are_complete=False)
            if outcome is None:
                await asyncio.sleep(script.latency_s)
                outcome = script.outcome()
            if outcome:
                await _send_next(call, outcome)
        script = self._script_for(call, requests)
        self._server.note_call(script, tuple(requests), call.time_left_s)
        outcome = script.outcome() if outcome is None else outcome
        while outcome:
            await _send_next(call, outcome)

    def _script_for(self, call: _Call, requests: Sequence[Message], *, are_complete: bool = True) -> Script:
        script = self._server.script_for(call.method, requests, are_complete=are_complete)
        if script is None:
            raise Internal(self._server.note_unscripted(call.caller, call.method, requests))
        return script


async def _send_next(call: _Call, outcome: list[Message | ServiceError]) -> None:
    each = outcome.pop(0)
    if isinstance(each, ServiceError):
        raise _fresh(each)
    await call.send(each)


def _parsed(method: Method, raw: bytes) -> Message:
    """Return a request; raise InvalidRequest if it is malformed or breaks a rule."""
    try:
        message = method.request_type.FromString(raw)
    except DecodeError:
        raise InvalidRequest("The request is not a well-formed message of its type.") from None
    check_request(message, raw)
    return message


def _fresh(error: ServiceError) -> ServiceError:
    """Return a scripted error without the traceback of an earlier call."""
    return error.with_traceback(None)
