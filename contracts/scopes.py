"""Scopes of API keys: a service's key has the scopes that its calls require, according to the contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.method import FOREIGN_POLICY, methods_of
from contracts.service_options import http_calls_of
from contracts.services import MESH_SERVICES, SERVICES, all_methods

if TYPE_CHECKING:
    from collections.abc import Iterator


def all_scopes() -> frozenset[str]:
    """Return all scopes that methods require."""
    mesh_methods = (method for service in MESH_SERVICES for method in methods_of(service))
    return FOREIGN_POLICY.scopes.union(*(method.policy.scopes for method in (*all_methods().values(), *mesh_methods)))


def scopes_of_caller(name: str) -> frozenset[str]:
    """Return the scopes that the service `name` needs for its own calls, and no others."""
    methods = all_methods()
    return frozenset[str]().union(*(methods[call].policy.scopes for call in calls_of(name)))


def calls_of(name: str) -> frozenset[str]:
    """Return the methods, by full name, that the service `name` may call.

    The result contains the methods that its contract lists in `calls`, `calls_later` and `http_calls`, and the
    subscribers of its events. It also contains its own methods that other services call through an outbox: a message
    for such a method may arrive over a message broker, and the service then calls itself.
    """
    own = SERVICES[name]
    package = own.file.package
    calls = {call for method in methods_of(own) for call in (*method.policy.calls, *method.policy.calls_later)}
    subscribers = {
        method.full_name
        for method in all_methods().values()
        if method.policy.subscribes_to.rpartition(".")[0] == package
    }
    received = {call for call in outbox_calls() if call.partition("/")[0] == own.full_name}
    return frozenset(calls | subscribers | received | set(http_calls_of(own)))


def outbox_calls() -> Iterator[str]:
    """Yield the methods, by full name, that services call through an outbox; duplicates are possible."""
    for method in all_methods().values():
        yield from method.policy.calls_later
        if method.policy.subscribes_to:
            yield method.full_name
