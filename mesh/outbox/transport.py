"""Transports: how a message of an outbox reaches its receiver; the direct one calls it and needs nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import context as trace_context

from contracts.method import find_method
from contracts.services import short_name
from interceptors.context import detached_work
from interceptors.idempotency import IDEMPOTENCY_KEY
from interceptors.trace_context import trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc.aio

    from mesh.outbox.broker import Broker
    from mesh.outbox.message import Message

# The contract's deadline bounds a delivery; this only has to be longer than every deadline.
BUDGET_S = 3_600.0


class Transport(Protocol):
    """Delivers messages."""

    async def deliver(self, message: Message) -> None:
        """Return once the receiver, or a broker on its behalf, has taken the message; raise a ServiceError otherwise.

        It may be called again for the same message, also after it has returned.
        """


class DirectTransport:
    """Calls the receiver, on the channel to its service: it has answered when `deliver` returns."""

    def __init__(self, channel_of: Callable[[str], grpc.aio.Channel]) -> None:
        self._channel_of = channel_of
        self._calls: dict[str, tuple[Any, bool]] = {}

    async def deliver(self, message: Message) -> None:
        call, takes_key = self._call_of(message.destination)
        metadata = ((IDEMPOTENCY_KEY, str(message.message_id)),) if takes_key else ()
        with as_its_request(message):
            await call(message.payload, metadata=metadata)

    def _call_of(self, destination: str) -> tuple[Any, bool]:
        if destination not in self._calls:
            method = find_method(f"/{destination}")
            # The payload is on the wire as it lies in the outbox.
            call: Any = self._channel_of(method.service).unary_unary(method.path, None, method.response_type.FromString)
            self._calls[destination] = (call, method.policy.idempotency_key_required)
        return self._calls[destination]


class BrokeredTransport:
    """Leaves messages to a broker, where their receivers take them in; calls `service`, the own one, directly."""

    def __init__(self, broker: Broker, service: str, direct: Transport) -> None:
        self._broker = broker
        self._service = service
        self._direct = direct

    async def deliver(self, message: Message) -> None:
        is_own = short_name(message.destination) == self._service
        await (self._direct.deliver(message) if is_own else self._broker.publish(message))


@contextmanager
def as_its_request(message: Message) -> Iterator[None]:
    """Work for the request that the message was written for, in its trace and under its correlation id."""
    token = trace_context.attach(trace_of(message.traceparent))
    try:
        with detached_work(message.correlation_id, BUDGET_S):
            yield
    finally:
        trace_context.detach(token)
