from __future__ import annotations

import pytest

from contracts.events import aggregate_key_of, request_with, subscribers_of
from contracts.policy import ContractError
from solo60.example.v1.echo_pb2 import EchoRequest, OnHeardRequest
from solo60.example.v1.events_pb2 import Heard

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
