from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.scopes import scopes_of_caller
from contracts.testing import Expectation, read_expectations, verify_previous_server
from tests.support.consumers import EXPECTATIONS_FOLDER

if TYPE_CHECKING:
    from contracts.testing import PreviousRelease


@pytest.mark.parametrize("expectation", read_expectations(EXPECTATIONS_FOLDER), ids=str)
async def test_a_consumer_works_with_servers_of_the_previous_release(
    expectation: Expectation, previous_release: PreviousRelease
) -> None:
    """A server of the previous release accepts the consumer's requests, and the consumer can read its answers."""
    await verify_previous_server(expectation, previous_release, scopes_of_caller(expectation.consumer))
