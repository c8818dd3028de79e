from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import protovalidate
import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from contracts.example_messages import example_of
from contracts.services import our_services
from contracts.violations import violations_of
from tests.contracts.documents.compiled import catalog_of_ours
from tests.contracts.documents.schemas import Schemas
from tests.foreign.boundaries import messages_around

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

MIXED = 5
# Messages to check for each type, evenly spaced, because some types have thousands of variants.
MOST_OF_A_TYPE = 120
TYPES = {
    message.full_name: message
    for service in our_services()
    for method in service.methods
    for message in (method.input_type, method.output_type)
}


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    """Return the schemas of our contracts."""
    return Schemas.of(catalog_of_ours())


def valid_json(message: Message) -> dict[str, object] | None:
    """Return a message as JSON, or None if it is invalid or has no form in JSON, as some field masks."""
    try:
        return None if violations_of(message) else json_format.MessageToDict(message)
    except (protovalidate.EvaluationError, json_format.SerializeToJsonError, ValueError):
        return None


@pytest.mark.parametrize("message_type", TYPES.values(), ids=TYPES)
def test_a_message_that_protovalidate_accepts_is_accepted(schemas: Schemas, message_type: Descriptor) -> None:
    """The schema accepts each message that protovalidate accepts, around the bounds of every rule of our contracts."""
    found = list(messages_around(message_type, Random(60), MIXED))  # noqa: S311 - test data
    messages = [example_of(GetMessageClass(message_type)), *found[:: len(found) // MOST_OF_A_TYPE + 1]]
    accepted = [written for message in messages if (written := valid_json(message)) is not None]

    assert accepted
    for written in accepted:
        assert schemas.problems(message_type.full_name, written) == [], written
