"""Scopes: what a caller's key must entitle it to: what the methods ask for that its own contract says it calls."""

from __future__ import annotations

from contracts.method import FOREIGN_POLICY, methods_of
from contracts.services import SERVICES, all_methods


def all_scopes() -> frozenset[str]:
    """Return every scope that any method asks for."""
    return FOREIGN_POLICY.scopes.union(*(method.policy.scopes for method in all_methods().values()))


def scopes_of_caller(name: str) -> frozenset[str]:
    """Return the scopes that the service called `name` needs to serve its methods, and no more."""
    methods = all_methods()
    calls = {call for method in methods_of(SERVICES[name]) for call in method.policy.calls}
    return frozenset[str]().union(*(methods[call].policy.scopes for call in calls))
