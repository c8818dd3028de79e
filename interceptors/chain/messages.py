"""Messages of one method: parsing, serialization, and the interceptors' hooks.

No frame of this module holds a request in a local variable while an error passes, because some tools print the local
variables of a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from google.protobuf.message import DecodeError

from contracts.errors import Internal, InvalidRequest, ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.chain.call import Call, MessageHook


class Messages:
    """Parser and serializer of one method's messages, which also passes each message to the interceptors' hooks."""

    def __init__(
        self, method: Method, *, on_request: Sequence[MessageHook], on_response: Sequence[MessageHook]
    ) -> None:
        self._parse = method.request_type.FromString
        self._response_type = method.response_type
        self._on_request = tuple(on_request)
        self._on_response = tuple(on_response)

    def parse(self, call: Call, raw: bytes) -> Message:
        """Return the request in `raw`; raise InvalidRequest if it is malformed, or the error of a hook."""
        message = None
        rejection: ServiceError
        try:
            message = self._parse(raw)
            for hook in self._on_request:
                hook(call, message)
        except DecodeError:
            rejection = InvalidRequest("The request is not a well-formed message of its type.")
        except ServiceError as error:
            rejection = error.with_traceback(None)  # without the frames that hold the message
        else:
            return message
        del raw, message
        raise rejection

    async def parse_each(self, call: Call) -> AsyncIterator[Message]:
        """Yield the parsed requests of a stream."""
        async for raw in cast("AsyncIterator[bytes]", call.incoming):
            holder = [raw]
            del raw
            yield self.parse(call, holder.pop())

    def serialize(self, call: Call, message: object) -> bytes:
        """Return a response as bytes; raise Internal if its type is wrong, or the error of a hook."""
        if not isinstance(message, self._response_type):
            kind = type(message).__name__
            del message
            raise Internal(f"The handler returned {kind}, not {self._response_type.__name__}.")
        rejection: ServiceError
        try:
            for hook in self._on_response:
                hook(call, message)
        except ServiceError as error:
            rejection = error.with_traceback(None)
        else:
            return message.SerializeToString()
        del message
        raise rejection
