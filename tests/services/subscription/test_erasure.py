"""Erasure of persons from held webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from contracts.errors import InvalidRequest, UserNotActive
from services.subscription.erasure import contains_text
from solo60.subscription.v1.subscription_pb2 import EraseAddressRequest, OnUserErasedRequest
from solo60.user.v1.events_pb2 import UserErased
from tests.services.subscription.subscription_mesh import SERVICES, event, processor_webhook, webhook

if TYPE_CHECKING:
    from tests.services.subscription.subscription_mesh import SubscriptionMesh

WEBHOOKS = "select webhook_id, payload is null, event, hold_reason from webhooks order by webhook_id"


def trial_ending(event_id: str, **customer: Any) -> bytes:
    """Return an event about a subscription that nobody knows."""
    data = {"object": "subscription", "id": f"sub_{event_id}", "metadata": {}, **customer}
    kind = "customer.subscription.trial_will_end"
    return orjson.dumps({"id": event_id, "type": kind, "created": 1, "data": {"object": data}})


async def test_held_webhooks_with_the_address_are_dismissed(mesh: SubscriptionMesh) -> None:
    """EraseAddress dismisses the held webhooks that contain the address. Other held webhooks stay."""
    await mesh.deliver(processor_webhook(trial_ending("evt_1", customer_email="Ada@Example.org")))
    await mesh.deliver(processor_webhook(trial_ending("evt_2", customer_email="grace@example.org")))

    await mesh.subscriptions.EraseAddress(EraseAddressRequest(email="ada@example.org"))

    assert await mesh.fetch("subscription", WEBHOOKS) == [
        ("evt_1", True, "ignored", "dismissed"),
        ("evt_2", False, None, "unattributed"),
    ]


async def test_a_redelivered_webhook_stays_dismissed(mesh: SubscriptionMesh) -> None:
    """The sender's next delivery of a dismissed webhook stores no payload again."""
    await mesh.deliver(processor_webhook(trial_ending("evt_1", customer_email="ada@example.org")))
    await mesh.subscriptions.EraseAddress(EraseAddressRequest(email="ada@example.org"))

    await mesh.deliver(processor_webhook(trial_ending("evt_1", customer_email="ada@example.org")))

    assert await mesh.fetch("subscription", WEBHOOKS) == [("evt_1", True, "ignored", "dismissed")]


async def test_the_event_ends_the_subscription_and_dismisses_its_webhooks(mesh: SubscriptionMesh) -> None:
    """OnUserErased ends the subscription without a mail, dismisses unreadable webhooks about it, and bars new ones."""
    subscribed = await mesh.subscribe()
    with pytest.raises(InvalidRequest):
        await mesh.deliver(webhook(event("renewed", subscribed, customer_name="Ada Byron"), "msg_1"))

    await mesh.subscriptions.OnUserErased(OnUserErasedRequest(event=UserErased(user_id=subscribed.user_id)))

    assert await mesh.fetch("subscription", WEBHOOKS) == [("msg_1", True, "ignored", "dismissed")]
    assert await mesh.status(subscribed) == "CANCELLED"
    with pytest.raises(UserNotActive):
        await mesh.subscribe(user_id=subscribed.user_id)


async def test_credits_on_their_way_arrive_despite_an_erasure(mesh: SubscriptionMesh) -> None:
    """If the payment service is down when a member is erased, it still gets the credits that the member has paid."""
    member, payment_url = await mesh.create_member(), mesh.services.database_url_of("payment")
    await mesh.services.stop("payment")
    await mesh.subscribe(user_id=member)

    await mesh.subscriptions.OnUserErased(OnUserErasedRequest(event=UserErased(user_id=member)))
    await mesh.services.start(SERVICES["payment"], payment_url)

    assert await mesh.balance(member) == 40


@pytest.mark.parametrize(
    ("payload", "is_found"),
    [
        (b'{"a": [{"b": "to ADA@example.org now"}]}', True),
        (b'{"ada@example.org": 1}', True),
        (rb'{"a": "ada\u0040example.org"}', True),
        (b"no JSON, ada@example.org", True),
        (b"\xff ada@example.org", True),
        (b'{"a": "adam@example.org", "n": 1, "x": null}', False),
        (b"[]", False),
    ],
)
def test_a_text_is_found_in_any_json(payload: bytes, *, is_found: bool) -> None:
    """A text is found in values and names, escaped or not, in any case, and in a payload that is no JSON."""
    assert contains_text(payload, "Ada@Example.org") is is_found
