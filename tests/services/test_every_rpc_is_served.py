from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from contracts.method import methods_of
from contracts.services import SERVICES


def generated_servicer(name: str) -> type[Any]:
    """Return the class that protoc generates for a service, in which no method is implemented."""
    module = import_module(f"solo60.{name}.v1.{name}_pb2_grpc")
    return vars(module)[f"{name.capitalize()}ServiceServicer"]  # type: ignore[no-any-return]  # found by its name


def servicer(name: str) -> type[Any]:
    """Return the class that answers for a service: the generated one, as long as nobody has written another."""
    if find_spec(f"services.{name}.servicer") is None:
        return generated_servicer(name)
    return vars(import_module(f"services.{name}.servicer"))[f"{name.capitalize()}Servicer"]  # type: ignore[no-any-return]  # found by its name


@pytest.mark.requirement("C1")
@pytest.mark.parametrize("name", SERVICES)
def test_a_method_is_contract_only_exactly_when_nobody_has_written_it(name: str) -> None:
    """ADR 5: no contract promises what is not served, and none hides what is."""
    written, generated = servicer(name), generated_servicer(name)

    unwritten = [
        method.name
        for method in methods_of(SERVICES[name])
        if getattr(written, method.name) is getattr(generated, method.name)
    ]

    assert unwritten == [method.name for method in methods_of(SERVICES[name]) if method.policy.contract_only]
