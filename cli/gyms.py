"""Gyms of the demos and of `solo60 seed`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import GymNameTaken
from solo60.common.v1.money_pb2 import Money
from solo60.gym.v1.gym_pb2 import CreateGymRequest, Gym, ListGymsRequest, OpeningHours, WaitingListMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub

LONDON = "Europe/London"


def _gym(  # noqa: PLR0913 - the properties of a gym
    name: str,
    minor_units: int,
    credits_per_hour: int,
    *,
    currency: str = "GBP",
    time_zone: str = LONDON,
    hours: tuple[int, int] = (0, 1440),
    noise_policy: str = "",
    requires_approval: bool = False,
    mode: WaitingListMode.ValueType = WaitingListMode.WAITING_LIST_MODE_NOTIFY_ALL,
) -> CreateGymRequest:
    return CreateGymRequest(
        name=name,
        time_zone=time_zone,
        price_per_hour=Money(currency_code=currency, minor_units=minor_units),
        credits_per_hour=credits_per_hour,
        noise_policy=noise_policy,
        opening_hours=OpeningHours(opens_minute=hours[0], closes_minute=hours[1]),
        requires_approval=requires_approval,
        waiting_list_mode=mode,
    )


FIELD_STREET = _gym(
    "Field Street Gym",
    1250,
    10,
    noise_policy="No dropped weights, no music without headphones, and quiet on the stairs after 20:00.",
)
# An admin approves each booking.
HARBOUR_LOFTS = _gym("Harbour Lofts", 2200, 18, hours=(360, 1320), requires_approval=True)
# A free slot is offered to one waiting member at a time.
OLD_MILL = _gym("Old Mill", 900, 7, hours=(420, 1320), mode=WaitingListMode.WAITING_LIST_MODE_OFFER_ONE)
GYMS = (
    FIELD_STREET,
    _gym("Canal Wharf", 1800, 14, hours=(300, 1440)),
    _gym("Station Arches", 1500, 12, hours=(360, 1380)),
    OLD_MILL,
    HARBOUR_LOFTS,
    _gym("Rope Walk", 1100, 9, hours=(360, 1320), noise_policy="Neighbours sleep above. No music after 21:00."),
    _gym("Dock Road", 1400, 11, hours=(300, 1320)),
    _gym("Liffey Quay", 1600, 12, currency="EUR", time_zone="Europe/Dublin", hours=(360, 1380)),
)


async def gym_named(gyms: GymServiceAsyncStub, name: str) -> Gym | None:
    """Return the gym with this name, ignoring case, or None."""
    async for gym in _all_gyms(gyms):
        if gym.name.casefold() == name.casefold():
            return gym
    return None


async def created_or_found(gyms: GymServiceAsyncStub, plan: CreateGymRequest) -> tuple[Gym, bool]:
    """Return the gym of `plan`, and whether this call has created it."""
    existing = await gym_named(gyms, plan.name)
    if existing is not None:
        return existing, False
    try:
        return (await gyms.CreateGym(plan)).gym, True
    except GymNameTaken:  # another command has just created it
        return await created_or_found(gyms, plan)


async def _all_gyms(gyms: GymServiceAsyncStub) -> AsyncIterator[Gym]:
    token = ""
    while True:
        page = await gyms.ListGyms(ListGymsRequest(page_size=100, page_token=token))
        for gym in page.gyms:
            yield gym
        token = page.next_page_token
        if not token:
            return
