from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from contracts.events import aggregate_key_of, problems_of_events, request_with, subscribers_of
from contracts.policy import ContractError
from solo60.example.v1.echo_pb2 import EchoRequest, OnHeardRequest
from solo60.example.v1.events_pb2 import Heard
from solo60.mesh.v1 import policy_pb2

RECEIVED_EVENT = Heard(text="hi", place="here")


def test_an_event_has_its_aggregate_key() -> None:
    """The aggregate key of an event is the value of the field that its contract names."""
    assert aggregate_key_of(RECEIVED_EVENT) == "here"


@pytest.mark.requirement("A3")
def test_a_message_that_is_no_event_is_rejected() -> None:
    """A message that is not declared as an event has no aggregate key and raises ContractError."""
    with pytest.raises(ContractError, match=r"solo60\.example\.v1\.EchoRequest is not declared to be an event"):
        aggregate_key_of(EchoRequest())


@pytest.mark.requirement("A3")
def test_subscribers_are_read_from_their_contracts() -> None:
    """The subscribers of an event are the methods that subscribe to it in their contracts.

    Their request carries the event.
    """
    (subscriber,) = subscribers_of(Heard.DESCRIPTOR.full_name)

    assert subscriber.full_name == "solo60.example.v1.EchoService/OnHeard"
    assert OnHeardRequest.FromString(request_with(RECEIVED_EVENT, subscriber)).event == RECEIVED_EVENT
    assert subscribers_of("solo60.example.v1.NobodyCares") == ()


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", None),
        ("text", None),
        ("number", 'event.aggregate_key: the event has no string field "number".'),
        ("texts", 'event.aggregate_key: the event has no string field "texts".'),
        ("nothing", 'event.aggregate_key: the event has no string field "nothing".'),
    ],
)
def test_an_aggregate_key_is_a_string_of_the_event(key: str, problem: str | None) -> None:
    """The linter reports an aggregate key that is not a single string field of its event."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="solo60.test.v1", syntax="proto3")
    event = file.message_type.add(name="Happened")
    one, many = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
    event.field.add(name="text", number=1, type=FieldDescriptorProto.TYPE_STRING, label=one)
    event.field.add(name="texts", number=2, type=FieldDescriptorProto.TYPE_STRING, label=many)
    event.field.add(name="number", number=3, type=FieldDescriptorProto.TYPE_INT32, label=one)
    text_format.Parse(f'aggregate_key: "{key}"', event.options.Extensions[policy_pb2.event])
    event.options.Extensions[policy_pb2.event].SetInParent()
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    problems = problems_of_events([pool.FindMessageTypeByName("solo60.test.v1.Happened")])

    assert problems == ([f"solo60.test.v1.Happened: {problem}"] if problem else [])
