"""Contract tests of the order service of the example: it provides what its consumers expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.testing import Expectation, check_states
from orders.servicer import OrderServicer
from tests.examples.order_states import EXPECTATIONS, STATES, replay

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("expectation", EXPECTATIONS, ids=str)
async def test_the_order_service_provides_what_its_consumers_expect(expectation: Expectation, tmp_path: Path) -> None:
    """Each expectation of a consumer holds for the real servicer."""
    await replay(expectation, OrderServicer(), tmp_path)


def test_each_state_is_expected() -> None:
    """Each state of a consumer has a function, and each function a consumer."""
    check_states(STATES, EXPECTATIONS)
