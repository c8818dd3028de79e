from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.errors import (
    InvalidRequest,
)
from solo60.gym.v1.gym_pb2 import (
    ListGymsRequest,
)
from tests.services.gym.gym_requests import add_gym, create_request
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub


@pytest.mark.requirement("C1")
async def test_gyms_are_listed_by_name_in_pages(gyms: GymServiceAsyncStub) -> None:
    """ListGyms lists each gym once, in pages, by name without regard to case (AIP-158)."""
    for name in ("delta", "Bravo", "echo", "alpha", "Charlie"):
        await add_gym(gyms, name)

    pages: list[list[str]] = []
    token, is_last = "", False
    while not is_last:
        answer = await gyms.ListGyms(ListGymsRequest(page_size=2, page_token=token))
        pages.append([gym.name for gym in answer.gyms])
        token = answer.next_page_token
        is_last = not token

    assert pages == [["alpha", "Bravo"], ["Charlie", "delta"], ["echo"]]


@pytest.mark.requirement("C1")
async def test_a_full_last_page_has_no_next_page_token(gyms: GymServiceAsyncStub) -> None:
    """The last page has no `next_page_token`, even if it is full, and neither has an empty list."""
    assert not (await gyms.ListGyms(ListGymsRequest())).next_page_token
    for name in ("alpha", "bravo"):
        await add_gym(gyms, name)

    answer = await gyms.ListGyms(ListGymsRequest(page_size=2))

    assert [gym.name for gym in answer.gyms] == ["alpha", "bravo"]
    assert not answer.next_page_token


@pytest.mark.requirement("C1")
async def test_a_page_has_fifty_gyms_by_default(gyms: GymServiceAsyncStub) -> None:
    """A `page_size` of 0 means 50."""
    await asyncio.gather(*[gyms.CreateGym(create_request(f"gym {number:02}")) for number in range(51)])

    answer = await gyms.ListGyms(ListGymsRequest())

    assert [gym.name for gym in answer.gyms] == [f"gym {number:02}" for number in range(50)]
    rest = await gyms.ListGyms(ListGymsRequest(page_token=answer.next_page_token))
    assert [gym.name for gym in rest.gyms] == ["gym 50"]


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("token", ["guessed", "0" * 32, "\x00"])
async def test_an_unknown_page_token_is_rejected(gyms: GymServiceAsyncStub, token: str) -> None:
    """ListGyms rejects a page token that no answer contained, and names the field."""
    with pytest.raises(InvalidRequest) as refusal:
        await gyms.ListGyms(ListGymsRequest(page_token=token))

    assert fields_of(refusal.value) == ["page_token"]


async def test_a_page_has_at_most_a_hundred_gyms(gyms: GymServiceAsyncStub) -> None:
    """A `page_size` above 100 means 100, and a page token may be used with another `page_size` (AIP-158)."""
    await asyncio.gather(*[gyms.CreateGym(create_request(f"gym {number:03}")) for number in range(101)])

    answer = await gyms.ListGyms(ListGymsRequest(page_size=2**31 - 1))

    assert [gym.name for gym in answer.gyms] == [f"gym {number:03}" for number in range(100)]
    rest = await gyms.ListGyms(ListGymsRequest(page_size=1, page_token=answer.next_page_token))
    assert [gym.name for gym in rest.gyms] == ["gym 100"]
