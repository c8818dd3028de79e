"""Application for calls of the services' methods by the Connect protocol, over any version of HTTP.

Methods without side effects can be called by GET too. Every call carries the API key of its caller, which the console
verifies before it reads the request, and passes on.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import structlog
from google.protobuf.descriptor_pb2 import MethodOptions
from opentelemetry.context import attach
from starlette.datastructures import Headers

from console.api.answers import Answer
from console.api.errors import NotServed
from console.api.requests import (
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    form_of_get,
    form_of_post,
    key_in,
    media_type_of,
    message_in_body,
    message_in_query,
    metadata_of,
    query_of,
    timeout_s_of,
)
from contracts.errors import Cancelled, DeadlineExceeded, Internal, ServiceError, Unauthenticated
from contracts.method import read_method
from contracts.services import SERVICES
from interceptors.context import CallContext, correlation_id_in, set_current_context
from interceptors.tracing.trace_context import extract
from operations.calls.requests import stub_of
from operations.calls.trailing_metadata import trailing_metadata_of, trailing_metadata_of_error

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from google.protobuf.message import Message
    from starlette.types import Receive, Scope, Send

    from console.api.requests import Form
    from console.state import Console
    from contracts.method import Method
    from interceptors.chain.untyped import AnyCall
    from operations.calls.trailing_metadata import Trailing

Result = TypeVar("Result")

# A request must have arrived completely within this time.
BODY_TIMEOUT_S = 15.0
UNKNOWN_KEY = (
    "The call carries no valid API key. Send one in the header x-api-key. In a local mesh, the operator's key is in "
    ".data/keys/operator."
)

_log = structlog.stdlib.get_logger("solo60.console")


class ConnectApi:
    """ASGI application with the path "/package.Service/Method" for each method in `methods`, by path.

    The body of an error has its code, message and details: violations, reason and time until a retry. A client that
    closes the connection cancels its call. A session of the console does not count.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        descriptors = [each for service in SERVICES.values() for each in service.methods if not each.client_streaming]
        self.methods = {method.path: method for method in map(read_method, descriptors)}
        # A stream needs envelopes, which GET does not have.
        self._allow_get = {
            read_method(each).path
            for each in descriptors
            if each.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS and not each.server_streaming
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        context = CallContext(correlation_id_in(headers))
        set_current_context(context)
        answer = Answer(send, media_type_of(headers), context.correlation_id)
        began_s, code, method = time.monotonic(), "OK", ""
        try:
            found = self._method(scope)
            method = found.full_name
            await self._answer(found, context, scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - every failure has an answer
            failure = _service_error(error)
            code = failure.code.name
            await answer.fail(failure, trailing_metadata_of_error(failure))
        finally:
            duration_ms = round((time.monotonic() - began_s) * 1000, 2)
            _log.info("api call", method=method, caller=context.caller, code=code, duration_ms=duration_ms)

    def _method(self, scope: Scope) -> Method:
        method = self.methods.get(scope["path"])
        if method is None:
            raise NotServed("There is no such method. /internal/openapi.json has all methods.", NOT_FOUND)
        allowed = ["GET", "POST"] if method.path in self._allow_get else ["POST"]
        if scope["method"] not in allowed:
            names = " or ".join(allowed)
            raise NotServed(f"Call {method.full_name} by {names}.", METHOD_NOT_ALLOWED, {"Allow": ", ".join(allowed)})
        return method

    async def _answer(
        self, method: Method, context: CallContext, scope: Scope, receive: Receive, answer: Answer
    ) -> None:
        headers = Headers(scope=scope)
        query = query_of(scope) if scope["method"] == "GET" else None
        form = form_of_post(method, headers) if query is None else form_of_get(query)
        key = self._verified_key(headers, context)
        attach(extract(headers))
        timeout_s, metadata = timeout_s_of(headers), metadata_of(method, headers)
        until_s = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
        if query is None:
            async with asyncio.timeout(min(until_s - time.monotonic(), BODY_TIMEOUT_S)):
                request = await message_in_body(method, headers, receive, form)
        else:
            request = message_in_query(method, query, form)
        left_s = None if timeout_s is None else until_s - time.monotonic()
        invoke = getattr(stub_of(self._console.channels_of_key(key), method), method.name)
        rpc = invoke(request, timeout=left_s, metadata=metadata)
        if method.response_streaming:
            await answer.end_stream(await _while_connected(receive, _relay(rpc, form, answer)))
        else:
            response, trailing = await _while_connected(receive, _response_of(rpc))
            await answer.send_response(form.codec.serialize(response), form.media_type, trailing)

    def _verified_key(self, headers: Headers, context: CallContext) -> str:
        """Return the key of the request, and note its caller. Raises Unauthenticated before any channel is opened."""
        key = key_in(headers)
        record = self._console.record_of(key)
        if record is None:
            raise Unauthenticated(UNKNOWN_KEY)
        context.caller = record.caller
        return key


async def _response_of(rpc: AnyCall) -> tuple[Message, Trailing]:
    response: Message = await rpc
    return response, await trailing_metadata_of(rpc)


async def _relay(rpc: AnyCall, form: Form, answer: Answer) -> Trailing:
    """Send each message of a stream as soon as it arrives, and return the trailing metadata."""
    await answer.begin_stream()
    try:
        async for message in rpc:
            await answer.send_message(form.codec.serialize(message))
    finally:
        rpc.cancel()  # does nothing if the call has ended
    return await trailing_metadata_of(rpc)


async def _while_connected(receive: Receive, work: Coroutine[None, None, Result]) -> Result:
    """Return the result of `work`. If the client leaves first, cancel `work` and raise Cancelled."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnection(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done() and not working.cancelled():
            return working.result()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        raise Cancelled
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _service_error(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("The request did not arrive completely in time.")
    _log.error("an API call failed", exc_info=error)
    return Internal()
