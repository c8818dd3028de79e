"""Events that services publish, and the methods that subscribe to them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from contracts.edges import EVENT_FIELD
from contracts.method import methods_of
from contracts.policy import ContractError
from contracts.services import our_services
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.method import Method



def aggregate_key_of(event: Message) -> str | None:
    """Return the aggregate key of `event`, or None if events of its type have no order.

    Raises ContractError if the message is not declared to be an event.
    """
    options = event.DESCRIPTOR.GetOptions()
    if not options.HasExtension(policy_pb2.event):
        raise ContractError(
            f"{event.DESCRIPTOR.full_name} is not declared to be an event: add option (solo60.mesh.v1.event) to it."
        )
    field = options.Extensions[policy_pb2.event].aggregate_key
    return str(getattr(event, field)) if field else None


@cache
def subscribers_of(event_name: str) -> tuple[Method, ...]:
    """Return the methods that subscribe to the event with this full name."""
    methods = (method for service in our_services() for method in methods_of(service))
    return tuple(method for method in methods if method.policy.subscribes_to == event_name)


def request_with(event: Message, subscriber: Method) -> bytes:
    """Return the serialized request that carries `event` to a subscriber."""
    request = subscriber.request_type(**{EVENT_FIELD: event})
    return request.SerializeToString(deterministic=True)
