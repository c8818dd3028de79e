"""Transports for outbox messages: a direct call to the receiver, or publication to a broker."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import context as trace_context

from contracts.method import find_method
from contracts.services import short_service_name
from interceptors.context import detached_work
from interceptors.idempotency import IDEMPOTENCY_KEY
from interceptors.tracing.trace_context import trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc.aio

    from mesh.outbox.broker import Broker
    from mesh.outbox.message import OutboxMessage

# No contract allows a longer deadline, so the contract's deadline limits each delivery.
BUDGET_S = 3_600.0


class Transport(Protocol):
    """Interface for the delivery of messages."""

    async def deliver(self, message: OutboxMessage) -> None:
        """Deliver a message, or raise a ServiceError.

        Returns after the receiver, or a broker on its behalf, has accepted the message. A relay may deliver the same
        message again, even after a successful return.
        """


class DirectTransport:
    """Transport that calls the receiver directly: `deliver` returns after the receiver has answered."""

    def __init__(self, channel_of: Callable[[str], grpc.aio.Channel]) -> None:
        self._channel_of = channel_of
        self._calls: dict[str, tuple[Any, bool]] = {}

    async def deliver(self, message: OutboxMessage) -> None:
        call, takes_key = self._call_of(message.destination)
        metadata = ((IDEMPOTENCY_KEY, str(message.message_id)),) if takes_key else ()
        with request_context(message):
            await call(message.payload, metadata=metadata)

    def _call_of(self, destination: str) -> tuple[Any, bool]:
        if destination not in self._calls:
            method = find_method(f"/{destination}")
            # No serializer, because the payload is already serialized.
            call: Any = self._channel_of(method.service).unary_unary(method.path, None, method.response_type.FromString)
            self._calls[destination] = (call, method.policy.idempotency_key_required)
        return self._calls[destination]


class BrokeredTransport:
    """Transport that publishes messages to a broker; messages for its own `service` go directly."""

    def __init__(self, broker: Broker, service: str, direct: Transport) -> None:
        self._broker = broker
        self._service = service
        self._direct = direct

    async def deliver(self, message: OutboxMessage) -> None:
        is_own = short_service_name(message.destination) == self._service
        await (self._direct.deliver(message) if is_own else self._broker.publish(message))


@contextmanager
def request_context(message: OutboxMessage) -> Iterator[None]:
    """Run the block in the trace and under the correlation id of the request that wrote the message."""
    token = trace_context.attach(trace_of(message.traceparent))
    try:
        with detached_work(message.correlation_id, BUDGET_S):
            yield
    finally:
        trace_context.detach(token)
