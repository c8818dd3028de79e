"""Events that services publish, and the methods that subscribe to them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from contracts.method import methods_of
from contracts.policy import ContractError
from contracts.policy import is_event as is_event
from contracts.services import our_services
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from contracts.method import Method

# Name of the event field in a subscriber's request.
EVENT_FIELD = "event"


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


def problems_of_events(messages: Iterable[Descriptor]) -> list[str]:
    """Return one sentence for each event with an aggregate key that is not a string field of the event."""
    problems = []
    for message in filter(is_event, messages):
        name = message.GetOptions().Extensions[policy_pb2.event].aggregate_key
        field = message.fields_by_name.get(name)
        if name and (field is None or field.is_repeated or field.type != FieldDescriptor.TYPE_STRING):
            problems.append(f'{message.full_name}: event.aggregate_key: the event has no string field "{name}".')
    return problems
