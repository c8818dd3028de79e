"""Scopes of API keys: a service's key has the scopes that its calls require, according to the contracts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from contracts.method import FOREIGN_POLICY, methods_of
from contracts.services import MESH_SERVICES, SERVICES, all_methods, http_calls_of, short_service_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from contracts.method import Method


# Scopes for callers outside the mesh: the public API and operators. No service needs them, and only
# one method requires each.
EXTERNAL_SCOPES = frozenset({"subscription.allocate", "user.erase", "user.search"})


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


def scopes_of_all_keys() -> frozenset[str]:
    """Return the scopes of all keys, without the operators' keys, which have every scope."""
    return EXTERNAL_SCOPES.union(*map(scopes_of_caller, SERVICES))


def warnings_of_scopes(methods: Sequence[Method], scopes_of_keys: frozenset[str] | None = None) -> list[str]:
    """Return one sentence for each scope that only one method requires and no key has.

    Only operators can call such a method, so the scope may be misspelt. The only scope of a service cannot be a
    misspelling of another one, so it causes no warning if it begins with the name of the service. `scopes_of_keys` are
    the scopes of all keys except the operators' keys; the default is the scopes of our services and of callers outside
    the mesh.
    """
    scopes_of_keys = scopes_of_all_keys() if scopes_of_keys is None else scopes_of_keys
    count = Counter(scope for method in methods for scope in method.policy.scopes)
    count_of_name = Counter(_name_in(scope) for scope in count)
    return [
        f'{method.full_name}: scopes: no other method and no key has "{scope}"; check its spelling.'
        for method in methods
        for scope in sorted(method.policy.scopes - scopes_of_keys)
        if count[scope] == 1
        and not (_name_in(scope) == short_service_name(method.service) and count_of_name[_name_in(scope)] == 1)
    ]


def _name_in(scope: str) -> str:
    """Return the name of the service in a scope: "gym" in "gym.read"."""
    return scope.partition(".")[0]
