"""All message types of the contracts of Solo60 and of the example under examples/acme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message_factory import GetMessageClass

from acme.orders.v1 import orders_pb2
from contracts.errors import InvalidRequest
from contracts.request_violations import check_doubtful_request
from contracts.services import our_files
from contracts.violations import violations_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message


def _with_nested(descriptors: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for descriptor in descriptors:
        if not descriptor.GetOptions().map_entry:
            yield descriptor
        yield from _with_nested(descriptor.nested_types)


TYPES: tuple[type[Message], ...] = tuple(
    GetMessageClass(descriptor)
    for file in (*our_files(), orders_pb2.DESCRIPTOR)
    for descriptor in _with_nested(file.message_types_by_name.values())
)


def is_accepted(message: Message) -> bool:
    """Return whether protovalidate and the other rules of requests accept a message, without the fast path."""
    try:
        check_doubtful_request(message, message.SerializeToString())
    except InvalidRequest:
        return False
    return violations_of(message) == []
