"""Events: what a service says has happened to it, and which methods of which services want to be told (A3)."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor

from contracts.method import methods_of
from contracts.policy import ContractError
from contracts.services import SERVICES
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor, ServiceDescriptor
    from google.protobuf.message import Message

    from contracts.method import Method

# The field of a subscriber's request that holds the event.
EVENT_FIELD = "event"
EXAMPLE_SERVICE = "solo60.example.v1.EchoService"


def aggregate_key_of(event: Message) -> str | None:
    """Return what `event` happened to, None where its order does not matter.

    Raises ContractError when the message is not declared to be an event.
    """
    options = event.DESCRIPTOR.GetOptions()
    if not options.HasExtension(policy_pb2.event):
        raise ContractError(f"{event.DESCRIPTOR.full_name} is not declared to be an event")
    field = options.Extensions[policy_pb2.event].aggregate_key
    return str(getattr(event, field)) if field else None


@cache
def subscribers_of(event_name: str) -> tuple[Method, ...]:
    """Return the methods that are called with each event of this type, by its full name."""
    return tuple(method for method in _known_methods() if method.policy.subscribes_to == event_name)


def request_with(event: Message, subscriber: Method) -> bytes:
    """Return the request of a subscriber that tells it of `event`, serialized."""
    request = subscriber.request_type(**{EVENT_FIELD: event})
    return request.SerializeToString(deterministic=True)


def _known_methods() -> Iterable[Method]:
    services: list[ServiceDescriptor] = list(SERVICES.values())
    with suppress(KeyError):  # where the examples are imported, their subscriptions count
        services.append(descriptor_pool.Default().FindServiceByName(EXAMPLE_SERVICE))
    return (method for service in services for method in methods_of(service))


def is_event(message: Descriptor) -> bool:
    """Tell whether a message is declared to be an event."""
    return bool(message.GetOptions().HasExtension(policy_pb2.event))


def problems_of_events(messages: Iterable[Descriptor]) -> list[str]:
    """Return one sentence for each event whose aggregate key is no string field of it."""
    problems = []
    for message in filter(is_event, messages):
        name = message.GetOptions().Extensions[policy_pb2.event].aggregate_key
        field = message.fields_by_name.get(name)
        if name and (field is None or field.is_repeated or field.type != FieldDescriptor.TYPE_STRING):
            problems.append(f'{message.full_name}: event.aggregate_key: it has no string field "{name}".')
    return problems
