from __future__ import annotations

import pytest

from contracts.method import methods_of
from contracts.scopes import all_scopes, calls_of, scopes_of_caller
from contracts.services import SERVICES, all_methods


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("caller", SERVICES)
def test_a_service_may_call_what_its_contract_says_it_calls(caller: str) -> None:
    """No call that a contract announces fails for want of a scope."""
    for method in methods_of(SERVICES[caller]):
        for call in method.policy.calls:
            assert all_methods()[call].policy.scopes <= scopes_of_caller(caller)


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("caller", SERVICES)
def test_a_service_has_no_scope_without_a_call_that_needs_it(caller: str) -> None:
    """Least privilege, so that a stolen key opens as little as possible."""
    called = {call for method in methods_of(SERVICES[caller]) for call in method.policy.calls}

    for scope in scopes_of_caller(caller):
        assert any(scope in all_methods()[call].policy.scopes for call in called | calls_of(caller))


def test_the_examples_of_least_privilege() -> None:
    """The gym calls nobody, so it may nothing; only who charges may charge."""
    assert scopes_of_caller("gym") == frozenset()
    assert "payment.charge" not in scopes_of_caller("communication")
    assert "auth.verify" not in scopes_of_caller("session")


def test_an_operator_may_everything() -> None:
    """Every scope of every method, and that of the services of gRPC itself."""
    of_services = {"mesh.inspect"}.union(*(method.policy.scopes for method in all_methods().values()))
    assert all_scopes() == of_services | {"outbox.read", "outbox.operate"}
