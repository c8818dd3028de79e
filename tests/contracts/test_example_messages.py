from __future__ import annotations

import pytest

from contracts.example_messages import example_of, example_of_field
from contracts.method import Method, methods_of
from contracts.services import MESH_SERVICES, all_methods
from contracts.violations import violations_of
from solo60.payment.v1.payment_pb2 import PaymentMethod

METHODS = [*all_methods().values(), *(method for service in MESH_SERVICES for method in methods_of(service))]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_the_example_of_every_method_is_accepted(method: Method) -> None:
    """The example request of every method passes its validation rules.

    If no value passes a new rule, add a value to contracts.example_messages.
    """
    example = example_of(method.request_type)

    assert violations_of(example) == []
    assert example.ListFields() or not method.request_type.DESCRIPTOR.fields


def test_an_example_includes_optional_fields() -> None:
    """Example requests also set optional fields, with plausible values such as a period of one hour."""
    booking = example_of(all_methods()["solo60.session.v1.SessionService/BookSession"].request_type)

    assert {field.name for field, _ in booking.ListFields()} >= {"user_id", "gym_id", "period", "payment_method"}
    assert booking.period.end_time.seconds - booking.period.start_time.seconds == 3600  # type: ignore[attr-defined]  # of a booking


def test_each_field_of_a_oneof_has_an_example() -> None:
    """The example of a whole message has one field of a oneof, so the others have examples of their own."""
    examples = [example_of(PaymentMethod), *(example_of_field(PaymentMethod, name) for name in ("credits", "card"))]

    assert [[field.name for field, _ in each.ListFields()] for each in examples] == [["credits"], ["credits"], ["card"]]
