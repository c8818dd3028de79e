from __future__ import annotations

from contracts.testing.pattern import lines_of, parse_pattern
from contracts.testing.recording import Recording
from contracts.testing.replay import message_of
from solo60.communication.v1.communication_pb2 import SendEmailAsyncRequest


def test_the_names_in_a_personal_map_are_recorded_without_their_values() -> None:
    """The variables of a template are replayed by name, with example values."""
    request = SendEmailAsyncRequest(variables={"price": "12.50 GBP", "member_name": "Ada"})

    lines = list(lines_of(Recording({}).request(request, None)))
    replayed = message_of(parse_pattern(lines), SendEmailAsyncRequest, {})

    assert not any("Ada" in line for line in lines)
    assert isinstance(replayed, SendEmailAsyncRequest)
    assert dict(replayed.variables) == {"member_name": "example", "price": "example"}


def test_keys_of_a_personal_map_that_are_no_names_are_not_recorded() -> None:
    """An address as a key stays out of the file, and so do all other keys of its map."""
    request = SendEmailAsyncRequest(variables={"ada@example.org": "member", "price": "12.50 GBP"})

    assert list(lines_of(Recording({}).request(request, None))) == ["variables: <personal>"]
