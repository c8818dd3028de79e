from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from contracts.method import methods_of
from contracts.services import SERVICES


def generated_servicer(name: str) -> type[Any]:
    """Return the generated class of a service, which implements no method."""
    module = import_module(f"solo60.{name}.v1.{name}_pb2_grpc")
    return vars(module)[f"{name.capitalize()}ServiceServicer"]  # type: ignore[no-any-return]  # looked up by name


def servicer(name: str) -> type[Any]:
    """Return the servicer of a service, or the generated class if there is none."""
    if find_spec(f"services.{name}.servicer") is None:
        return generated_servicer(name)
    return vars(import_module(f"services.{name}.servicer"))[f"{name.capitalize()}Servicer"]  # type: ignore[no-any-return]  # looked up by name


@pytest.mark.requirement("C1")
@pytest.mark.parametrize("name", SERVICES)
def test_a_method_is_contract_only_exactly_if_it_is_not_implemented(name: str) -> None:
    """The contract marks exactly the methods without an implementation as contract-only (ADR 5)."""
    written, generated = servicer(name), generated_servicer(name)

    unwritten = [
        method.name
        for method in methods_of(SERVICES[name])
        if getattr(written, method.name) is getattr(generated, method.name)
    ]

    assert unwritten == [method.name for method in methods_of(SERVICES[name]) if method.policy.contract_only]
