from __future__ import annotations

import pytest

from contracts.services import SERVICES
from contracts.source.comparison import REPORTS, compare
from tests.support.compiled_contracts import compiled_contracts
from tests.support.sources import ROOT


@pytest.mark.requirement("C5")
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_calls_exactly_the_methods_that_its_contract_lists(name: str) -> None:
    """The code of a service makes no undeclared call, and makes each declared one somewhere.

    It publishes exactly the events of its package, and raises only errors that one of its methods declares.
    """
    found = compare(compiled_contracts(), SERVICES[name].full_name, ROOT / "services" / name)

    assert [each for each in found if each.id not in REPORTS] == []
