"""Channel that sends calls of every RPC shape through a chain of interceptors.

grpc.aio starts a task for the interceptors of each call, and has one interceptor class per RPC shape. The wrapper here
costs a fraction of that task, and one interceptor class serves all shapes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio

from contracts.method import Method, find_method
from contracts.service_error import ServiceError
from interceptors.chain.client import ClientCall
from interceptors.chain.client_call import CallOutcome, ChainedCall, StreamStream, StreamUnary, UnaryStream, UnaryUnary
from interceptors.chain.pipeline import start_all
from interceptors.chain.rejected_call import RejectedCall
from interceptors.chain.sent_metadata import SentMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from interceptors.chain.client import ClientInterceptor, MessageListener
    from interceptors.chain.untyped import AnyCall, AnyMessage, Argument


# Parameters of a channel's methods after the method's path, in order.
_TRANSPORT = ("request_serializer", "response_deserializer", "_registered_method")


class ChainedChannel(grpc.aio.Channel):
    """Wrapper around `channel` that sends its calls through `interceptors`, outermost first.

    Calls raise the exceptions of `contracts.errors`, also if an interceptor rejected the call before it was sent.
    """

    def __init__(self, channel: grpc.aio.Channel, interceptors: Sequence[ClientInterceptor]) -> None:
        self._channel = channel
        self._interceptors = tuple(interceptors)

    def unary_unary(self, method: str, *transport: Argument, **options: Argument) -> AnyCall:
        return self._multi_callable(MultiCallable, UnaryUnary, self._channel.unary_unary, method, transport, options)

    def unary_stream(self, method: str, *transport: Argument, **options: Argument) -> AnyCall:
        return self._multi_callable(MultiCallable, UnaryStream, self._channel.unary_stream, method, transport, options)

    def stream_unary(self, method: str, *transport: Argument, **options: Argument) -> AnyCall:
        return self._multi_callable(
            _StreamMultiCallable, StreamUnary, self._channel.stream_unary, method, transport, options
        )

    def stream_stream(self, method: str, *transport: Argument, **options: Argument) -> AnyCall:
        return self._multi_callable(
            _StreamMultiCallable, StreamStream, self._channel.stream_stream, method, transport, options
        )

    def _multi_callable(
        self,
        kind: type[MultiCallable],
        shape: type[ChainedCall],
        multi_callable: Callable[..., Any],
        path: str,
        transport: tuple[Any, ...],
        options: dict[str, Any],
    ) -> MultiCallable:
        method = find_method(path)
        named = dict(zip(_TRANSPORT, transport, strict=False)) | options
        return kind(shape, method, multi_callable(path, **self._with_hooks(method, named)), self._interceptors)

    def _with_hooks(self, method: Method, transport: dict[str, Any]) -> dict[str, Any]:
        """Return the transport arguments with (de)serializers that call the interceptors' message hooks."""
        hooked = dict(transport)
        for name, hooks in (
            ("request_serializer", [each.request_hook(method) for each in self._interceptors]),
            ("response_deserializer", [each.response_hook(method) for each in self._interceptors]),
        ):
            for hook in filter(None, hooks):
                hooked[name] = partial(_transform_and_notify, hook, hooked.get(name))
        return hooked

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.__aexit__(kind, error, traceback)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - as grpc.aio has it
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()


def _transform_and_notify(
    listener: MessageListener, transform: Callable[[Any], Any] | None, message: AnyMessage
) -> AnyMessage:
    transformed = message if transform is None else transform(message)
    listener()
    return transformed


class MultiCallable:
    """Callable that makes the calls of `method`; the attributes of a stub have this type."""

    def __init__(
        self,
        shape: type[ChainedCall],
        method: Method,
        send: Callable[..., Any],
        interceptors: Sequence[ClientInterceptor],
    ) -> None:
        self._shape = shape
        self.method = method
        self._send = send
        self._interceptors = [each for each in interceptors if each.applies_to(method)]
        self._starts = [each.start_of(method) for each in self._interceptors]

    def __call__(
        self,
        request: AnyMessage,
        *,
        timeout: float | None = None,
        metadata: Argument = None,
        **options: Argument,
    ) -> AnyCall:
        call = ClientCall(self.method, [*metadata] if metadata else [], timeout)
        try:
            start_all(self._starts, call, call.finish_callbacks)
            metadata = None  # keeps the caller's metadata out of tracebacks
            if call.send is None:
                rpc = self._send(request, timeout=call.timeout_s, metadata=SentMetadata(call.metadata), **options)
            else:
                rpc = call.send(call, partial(self._send, request, **options))
        except Exception as error:  # noqa: BLE001 - raised when the response is awaited
            if isinstance(error, ServiceError):
                error.callee = error.callee or self.method.full_name
            call.finish(error)
            return RejectedCall(error)
        return self._shape(rpc, CallOutcome(call, rpc))

    def start_later(self) -> None:
        """Pass a call for an outbox through all interceptors; raise the first error of an interceptor."""
        for interceptor in self._interceptors:
            interceptor.start_later(self.method)


class _StreamMultiCallable(MultiCallable):
    """Calls with a stream of requests; grpc.aio accepts their options by position too."""

    def __call__(  # type: ignore[override]  # as grpc.aio has it
        self,
        request_iterator: AnyMessage = None,
        timeout: float | None = None,
        metadata: Argument = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,  # noqa: FBT001 - as grpc.aio has it
        compression: grpc.Compression | None = None,
    ) -> AnyCall:
        return super().__call__(
            request_iterator,
            timeout=timeout,
            metadata=metadata,
            credentials=credentials,
            wait_for_ready=wait_for_ready,
            compression=compression,
        )
