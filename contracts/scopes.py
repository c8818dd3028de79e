"""Scopes: what a caller's key must entitle it to: what the methods ask for that its own contract says it calls."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from contracts.method import FOREIGN_POLICY, methods_of
from contracts.services import MESH_SERVICES, SERVICES, all_methods

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from contracts.method import Method


# Scopes that no service needs, of methods that are called from outside the mesh: by the public API, by those who send
# webhooks, by operators. Each is asked for by one method alone.
FROM_OUTSIDE = frozenset(
    {"auth.verify", "communication.read", "gym.write", "subscription.allocate", "subscription.webhook"}
)


def all_scopes() -> frozenset[str]:
    """Return every scope that any method asks for."""
    mesh_methods = (method for service in MESH_SERVICES for method in methods_of(service))
    return FOREIGN_POLICY.scopes.union(*(method.policy.scopes for method in (*all_methods().values(), *mesh_methods)))


def scopes_of_caller(name: str) -> frozenset[str]:
    """Return the scopes that the service called `name` needs to serve its methods, and no more."""
    methods = all_methods()
    return frozenset[str]().union(*(methods[call].policy.scopes for call in calls_of(name)))


def calls_of(name: str) -> frozenset[str]:
    """Return the methods, by full name, that the service called `name` may call.

    They are those that its methods call, at once or later, and the subscribers of its events. What others leave to
    their outboxes for it may reach it over a message broker, and then it calls itself.
    """
    own = SERVICES[name]
    package = own.file.package
    calls = {call for method in methods_of(own) for call in (*method.policy.calls, *method.policy.calls_later)}
    subscribers = {
        method.full_name
        for method in all_methods().values()
        if method.policy.subscribes_to.rpartition(".")[0] == package
    }
    received = {call for call in calls_left_to_outboxes() if call.partition("/")[0] == own.full_name}
    return frozenset(calls | subscribers | received)


def calls_left_to_outboxes() -> Iterator[str]:
    """Yield the methods, by full name, that any service leaves to its outbox, some of them more than once."""
    for method in all_methods().values():
        yield from method.policy.calls_later
        if method.policy.subscribes_to:
            yield method.full_name


def held_scopes() -> frozenset[str]:
    """Return the scopes of all keys but the operators', who may call everything."""
    return FROM_OUTSIDE.union(*map(scopes_of_caller, SERVICES))


def warnings_of_scopes(methods: Sequence[Method], held: frozenset[str] | None = None) -> list[str]:
    """Return one sentence for each scope that one method alone asks for and no key has: nobody may call that method.

    `held` are the scopes of all keys; by default, those of our services and of callers from outside.
    """
    held = held_scopes() if held is None else held
    count = Counter(scope for method in methods for scope in method.policy.scopes)
    return [
        f'{method.full_name}: scopes: no other method and no key has "{scope}": is it spelt as it should be?'
        for method in methods
        for scope in sorted(method.policy.scopes - held)
        if count[scope] == 1
    ]
