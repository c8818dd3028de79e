"""Edges of the call graph in a run of the tests: calls, later calls and deliveries of events that were really made.

The servers of the tests check each call of a handler against the contract, and count the deliveries of their outboxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from prometheus_client import REGISTRY

from contracts.services import all_methods
from interceptors.declared_calls import CHECKED_CALLS, CHECKED_LATER_CALLS

if TYPE_CHECKING:
    from collections.abc import Iterator

# Full name of a method or event, an option of a policy, and the full name of the called or subscribing method.
Edge: TypeAlias = tuple[str, str, str]

SESSION, SUBSCRIPTION = "solo60.session.v1.SessionService", "solo60.subscription.v1.SubscriptionService"
REFUND = "solo60.payment.v1.PaymentService/RefundSession"
# Edges that servers use unseen. A failed booking is released in detached work, which serves no method. An order is
# settled after its subscription has ended at the card processor only in a race.
UNSEEN: frozenset[Edge] = frozenset(
    {
        *((f"{SESSION}/BookSession", "calls_later", each) for each in (REFUND, f"{SESSION}/ExpireOffer")),
        *((f"{SESSION}/ClaimOffer", "calls_later", each) for each in (REFUND, f"{SESSION}/ExpireOffer")),
        (f"{SUBSCRIPTION}/SettleSubscriptionOrder", "calls_later", f"{SUBSCRIPTION}/SyncCardProcessor"),
    }
)
DELIVERIES = "outbox_deliveries_total"


def edges_of_this_process() -> set[Edge]:
    """Return the edges that servers in this process have used."""
    return {
        *_calls_made("calls", CHECKED_CALLS),
        *_calls_made("calls_later", CHECKED_LATER_CALLS),
        *_events_delivered(),
    }


def _calls_made(option: str, checked: dict[tuple[str, str], str]) -> Iterator[Edge]:
    for (serving, called), problem in checked.items():
        if not problem:
            yield serving[1:], option, called[1:]


def _events_delivered() -> Iterator[Edge]:
    methods = all_methods()
    for sample in (sample for metric in REGISTRY.collect() for sample in metric.samples):
        if sample.name == DELIVERIES and sample.labels["status"] == "delivered" and sample.value:
            method = methods.get(sample.labels["destination"])
            if method is not None and method.policy.subscribes_to:
                yield method.policy.subscribes_to, "subscribes_to", method.full_name


def declared_edges() -> set[Edge]:
    """Return every declared edge of every method."""
    declared: set[Edge] = set()
    for name, method in all_methods().items():
        declared.update((name, "calls", call) for call in method.policy.calls)
        declared.update((name, "calls_later", call) for call in method.policy.calls_later)
        if method.policy.subscribes_to:
            declared.add((method.policy.subscribes_to, "subscribes_to", name))
    return declared


def missing_edges(seen: set[Edge]) -> list[str]:
    """Return one line for each declared edge that no server used, without those in UNSEEN."""
    return [f"{source}: {option}: {target}" for source, option, target in sorted(declared_edges() - seen - UNSEEN)]
