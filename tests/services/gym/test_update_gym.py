from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import EtagMismatch, GymNameTaken, GymNotFound, InvalidRequest, ScopeMissing
from services.gym.domain import MAX_HOURLY_PRICE
from solo60.gym.v1.events_pb2 import WaitingListModeChanged
from solo60.gym.v1.gym_pb2 import (
    WAITING_LIST_MODE_NOTIFY_ALL,
    WAITING_LIST_MODE_OFFER_ONE,
    GetGymRequest,
    Gym,
    ListGymsRequest,
    OpeningHours,
    UpdateGymRequest,
)
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.session.v1.session_pb2 import OnWaitingListModeChangedRequest
from tests.services.gym.gym_requests import add_gym, pounds
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from tests.support.serving import MeshForTests

NEW: dict[str, Any] = {
    "name": "Harbour Gym",
    "time_zone": "America/New_York",
    "price_per_hour": pounds(2000),
    "credits_per_hour": 5,
    "noise_policy": "Quiet, please",
    "opening_hours": OpeningHours(opens_minute=1080, closes_minute=1560),
    "requires_approval": True,
    "waiting_list_mode": WAITING_LIST_MODE_OFFER_ONE,
}
SOME_ETAG = "0" * 32


def update_request(gym: Gym, *paths: str, **values: Any) -> UpdateGymRequest:
    """Return a request that sets `values`, or clears the fields in `paths`."""
    changed = Gym(gym_id=gym.gym_id, etag=gym.etag, **values)
    return UpdateGymRequest(gym=changed, update_mask=FieldMask(paths=[*values, *paths]))


async def published_modes(mesh: MeshForTests) -> list[WaitingListModeChanged]:
    """Return the published changes of the waiting list mode, in order."""
    async with mesh.database("gym").connection() as connection:
        rows = await connection.fetch("select payload from outbox order by sequence")
    return [OnWaitingListModeChangedRequest.FromString(row["payload"]).event for row in rows]


@pytest.mark.requirement("C1")
@pytest.mark.parametrize("field", NEW)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_update_changes_the_named_field_alone(shared_gyms: GymServiceAsyncStub, field: str) -> None:
    """UpdateGym changes the field in the mask, the update time and the etag, and GetGym returns the same gym."""
    created = await add_gym(shared_gyms, f"Gym with another {field}")

    updated = (await shared_gyms.UpdateGym(update_request(created, **{field: NEW[field]}))).gym

    assert (await shared_gyms.GetGym(GetGymRequest(gym_id=created.gym_id))).gym == updated
    assert getattr(updated, field) == NEW[field]
    assert updated.etag != created.etag
    expected = Gym()
    expected.CopyFrom(updated)
    for each in (field, "etag", "update_time"):
        expected.ClearField(each)  # type: ignore[arg-type]  # names of fields
        created.ClearField(each)  # type: ignore[arg-type]  # names of fields
    assert expected == created


async def test_a_field_may_become_empty(gyms: GymServiceAsyncStub) -> None:
    """A noise policy and an approval that the mask names and the gym lacks are removed."""
    created = await add_gym(gyms, noise_policy="Quiet, please", requires_approval=True)

    updated = (await gyms.UpdateGym(update_request(created, "noise_policy", "requires_approval"))).gym

    assert (updated.noise_policy, updated.requires_approval) == ("", False)


async def test_an_update_with_a_stale_etag_changes_nothing(gyms: GymServiceAsyncStub) -> None:
    """UpdateGym fails with ETAG_MISMATCH after another update, and succeeds with the new etag."""
    read = await add_gym(gyms)
    changed = (await gyms.UpdateGym(update_request(read, credits_per_hour=5))).gym

    with pytest.raises(EtagMismatch):
        await gyms.UpdateGym(update_request(read, credits_per_hour=7))

    assert (await gyms.GetGym(GetGymRequest(gym_id=read.gym_id))).gym == changed
    assert (await gyms.UpdateGym(update_request(changed, credits_per_hour=7))).gym.credits_per_hour == 7


async def test_one_of_ten_concurrent_updates_wins(gyms: GymServiceAsyncStub) -> None:
    """Of ten concurrent updates with one etag, one succeeds and nine fail with ETAG_MISMATCH."""
    created = await add_gym(gyms)

    answers = await asyncio.gather(
        *[gyms.UpdateGym(update_request(created, credits_per_hour=10 + number)) for number in range(10)],
        return_exceptions=True,
    )

    assert sum(isinstance(answer, EtagMismatch) for answer in answers) == 9


@pytest.mark.requirement("S6")
async def test_a_repeated_update_gets_the_first_answer(gyms: GymServiceAsyncStub) -> None:
    """An update repeated with its key gets the first answer, although the etag is now another one."""
    created, key = await add_gym(gyms), (("idempotency-key", "new-price"),)
    request = update_request(created, credits_per_hour=5)

    first = await gyms.UpdateGym(request, metadata=key)

    assert await gyms.UpdateGym(request, metadata=key) == first


async def test_a_taken_name_is_rejected(gyms: GymServiceAsyncStub) -> None:
    """UpdateGym fails with GYM_NAME_TAKEN for another gym's name in any case. A gym may change the case of its own."""
    created = await add_gym(gyms)
    await add_gym(gyms, "Harbour Gym")

    with pytest.raises(GymNameTaken):
        await gyms.UpdateGym(update_request(created, name="HARBOUR gym"))
    assert (await gyms.UpdateGym(update_request(created, name="FIELD street gym"))).gym.name == "FIELD street gym"


async def test_one_of_ten_concurrent_gyms_gets_a_name(gyms: GymServiceAsyncStub) -> None:
    """Of ten gyms that take one name concurrently, one gets it and nine fail with GYM_NAME_TAKEN."""
    created = [await add_gym(gyms, f"gym {number}") for number in range(10)]

    answers = await asyncio.gather(
        *[gyms.UpdateGym(update_request(each, name="Harbour Gym")) for each in created], return_exceptions=True
    )

    assert sum(isinstance(answer, GymNameTaken) for answer in answers) == 9


async def test_an_unknown_gym_cannot_be_updated(gyms: GymServiceAsyncStub) -> None:
    """UpdateGym fails with GYM_NOT_FOUND for an unknown gym."""
    with pytest.raises(GymNotFound):
        await gyms.UpdateGym(update_request(Gym(gym_id=str(uuid4()), etag=SOME_ETAG), credits_per_hour=5))


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("paths", "values", "field"),
    [
        ([], {}, "update_mask"),
        (["create_time"], {}, "update_mask"),
        (["price_per_hour.minor_units"], {}, "update_mask"),
        *((["noise_policy"], {"etag": etag}, field) for etag, field in (("", ""), ("old", "gym.etag"))),
        *(([field], {}, "") for field in NEW if field not in ("noise_policy", "requires_approval")),
        (["name"], {"name": "\u200b"}, "gym.name"),
        (["time_zone"], {"time_zone": "Europe/Londinium"}, "gym.time_zone"),
        (["price_per_hour"], {"price_per_hour": pounds(0)}, "gym.price_per_hour"),
        (["price_per_hour"], {"price_per_hour": pounds(MAX_HOURLY_PRICE + 1)}, "gym.price_per_hour.minor_units"),
        (["credits_per_hour"], {"credits_per_hour": -1}, "gym.credits_per_hour"),
        (["credits_per_hour"], {"credits_per_hour": MAX_HOURLY_PRICE + 1}, "gym.credits_per_hour"),
        (["opening_hours"], {"opening_hours": OpeningHours(opens_minute=2, closes_minute=1)}, "gym.opening_hours"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_invalid_update_names_its_field(
    shared_gyms: GymServiceAsyncStub, paths: list[str], values: dict[str, Any], field: str
) -> None:
    """UpdateGym rejects an invalid request and names the bad field, or none for a rule of the whole request."""
    gym, *_ = (await shared_gyms.ListGyms(ListGymsRequest())).gyms or [await add_gym(shared_gyms)]
    given = Gym(**{"gym_id": gym.gym_id, "etag": gym.etag, **values})

    with pytest.raises(InvalidRequest) as refusal:
        await shared_gyms.UpdateGym(UpdateGymRequest(gym=given, update_mask=FieldMask(paths=paths)))

    assert field in fields_of(refusal.value)


@pytest.mark.requirement("A3")
async def test_each_change_of_the_waiting_list_mode_is_published(gyms: GymServiceAsyncStub, mesh: MeshForTests) -> None:
    """A gym publishes its waiting list mode when it differs from the default at creation, and when it changes."""
    default = await add_gym(gyms)
    offering = await add_gym(gyms, "Harbour Gym", waiting_list_mode=WAITING_LIST_MODE_OFFER_ONE)
    renamed = (await gyms.UpdateGym(update_request(offering, name="Dock Gym"))).gym
    await gyms.UpdateGym(update_request(renamed, waiting_list_mode=WAITING_LIST_MODE_NOTIFY_ALL))
    await gyms.UpdateGym(update_request(default, waiting_list_mode=WAITING_LIST_MODE_NOTIFY_ALL))

    assert await published_modes(mesh) == [
        WaitingListModeChanged(gym_id=offering.gym_id, waiting_list_mode=WAITING_LIST_MODE_OFFER_ONE),
        WaitingListModeChanged(gym_id=offering.gym_id, waiting_list_mode=WAITING_LIST_MODE_NOTIFY_ALL),
    ]


@pytest.mark.requirement("S1")
async def test_a_caller_with_only_the_read_scope_cannot_update_a_gym(mesh: MeshForTests) -> None:
    """UpdateGym requires the scope gym.write, which the session service lacks."""
    request = update_request(Gym(gym_id=str(uuid4()), etag=SOME_ETAG), credits_per_hour=5)

    with pytest.raises(ScopeMissing):
        await mesh.stub(GymServiceStub, caller="session").UpdateGym(request)
