"""Test kit of the contracts, used by another team: every rule of Acme's contract against Acme's server."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from acme.orders.v1 import orders_pb2 as pb
from acme.orders.v1.orders_pb2_grpc import OrderServiceStub
from contracts.errors import InvalidRequest, UnknownError
from contracts.method import Method, methods_of
from contracts.testing.cases import Case, cases_of, uncovered_rules
from orders.server import issue_keys, start_server
from orders.servicer import OrderServicer
from shop.client import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

METHODS = tuple(methods_of(pb.DESCRIPTOR.services_by_name["OrderService"]))
CASES = [
    pytest.param(method, case, id=f"{method.name}-{case}")
    for method in METHODS
    for case in cases_of(method.request_type)
]


@pytest.fixture
async def orders(tmp_path: Path) -> AsyncIterator[Any]:
    """Start Acme's server and return a client of it."""
    server, port = await start_server(OrderServicer(), issue_keys(tmp_path), "127.0.0.1:0")
    try:
        async with connect(f"127.0.0.1:{port}", (tmp_path / "shop").read_text(encoding="utf-8")) as channel:
            yield OrderServiceStub(channel)
    finally:
        await server.stop(0)


@pytest.mark.parametrize(("method", "case"), CASES)
async def test_the_server_enforces_each_rule_at_its_boundary(orders: Any, method: Method, case: Case) -> None:
    """Acme's server accepts the last valid value of each rule, and rejects the next with the name of the field."""
    answer = getattr(orders, method.name)(case.request)
    call = anext(aiter(answer)) if method.response_streaming else answer
    if case.is_valid:
        with suppress(UnknownError):  # there is no such order
            await call
        return

    with pytest.raises(InvalidRequest) as rejection:
        await call

    found = [(violation.field, violation.description) for violation in rejection.value.violations]
    assert found == [(case.field, case.description)]


def test_every_rule_of_the_contract_has_a_case() -> None:
    """The generator finds a violation for each rule of Acme's contract."""
    assert [rule for method in METHODS for rule in uncovered_rules(method.request_type)] == []
