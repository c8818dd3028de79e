from __future__ import annotations

import pytest

from contracts.method import methods_of
from contracts.scopes import all_scopes, calls_of, scopes_of_caller
from contracts.services import SERVICES, all_methods


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("caller", SERVICES)
def test_a_service_has_the_scopes_of_its_declared_calls(caller: str) -> None:
    """A service holds every scope that the calls declared in its contract need."""
    for method in methods_of(SERVICES[caller]):
        for call in method.policy.calls:
            assert all_methods()[call].policy.scopes <= scopes_of_caller(caller)


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("caller", SERVICES)
def test_a_service_has_no_unneeded_scope(caller: str) -> None:
    """Each scope of a service is needed by one of its calls, so that a stolen key allows as little as possible."""
    called = {call for method in methods_of(SERVICES[caller]) for call in method.policy.calls}

    for scope in scopes_of_caller(caller):
        assert any(scope in all_methods()[call].policy.scopes for call in called | calls_of(caller))


def test_least_privilege_by_example() -> None:
    """The gym service can only publish events, communication cannot charge, and session cannot verify tokens."""
    assert scopes_of_caller("gym") == {"session.react"}
    assert "payment.charge" not in scopes_of_caller("communication")
    assert "auth.verify" not in scopes_of_caller("session")


def test_all_scopes_are_those_of_methods_and_of_the_mesh() -> None:
    """The scopes for operators are those of all methods, of gRPC's own services and of the outbox."""
    of_services = {"mesh.inspect"}.union(*(method.policy.scopes for method in all_methods().values()))
    assert all_scopes() == of_services | {"outbox.read", "outbox.operate"}
