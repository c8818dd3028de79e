from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import grpc
import pytest

from contracts.errors import (
    GymNameTaken,
    GymNotFound,
    IdempotencyKeyReused,
    InvalidRequest,
    RequestInProgress,
    ScopeMissing,
)
from interceptors.idempotency import REPLAYED
from local.keys import OPERATOR
from mesh.data.idempotency import IN_PROGRESS_RETRY_S
from services.gym.domain import MAX_HOURLY_PRICE
from solo60.common.v1.money_pb2 import Money
from solo60.gym.v1.gym_pb2 import (
    WAITING_LIST_MODE_NOTIFY_ALL,
    CreateGymRequest,
    GetGymRequest,
    Gym,
    ListGymsRequest,
    OpeningHours,
    QuotePriceRequest,
)
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.services.gym.gym_requests import add_gym, create_request, period, pounds
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from tests.support.serving import MeshForTests


@pytest.mark.requirement("C1")
async def test_a_gym_is_added_and_found(gyms: GymServiceAsyncStub) -> None:
    """CreateGym returns the whole gym, and GetGym returns the same."""
    hours = OpeningHours(opens_minute=360, closes_minute=1320)
    created = await add_gym(gyms, noise_policy="No dropped weights", opening_hours=hours, requires_approval=True)

    assert (await gyms.GetGym(GetGymRequest(gym_id=created.gym_id))).gym == created
    assert str(UUID(created.gym_id)) == created.gym_id
    assert created == Gym(
        gym_id=created.gym_id,
        name="Field Street Gym",
        time_zone="Europe/London",
        price_per_hour=pounds(1250),
        credits_per_hour=3,
        noise_policy="No dropped weights",
        opening_hours=hours,
        requires_approval=True,
        waiting_list_mode=WAITING_LIST_MODE_NOTIFY_ALL,
        create_time=created.create_time,
        update_time=created.create_time,
        etag=created.etag,
    )
    assert len(created.etag) == 32


@pytest.mark.requirement("C1")
async def test_a_gym_is_by_default_always_open(gyms: GymServiceAsyncStub) -> None:
    """A gym created without opening hours is open around the clock."""
    created = await add_gym(gyms)

    assert created.opening_hours == OpeningHours(opens_minute=0, closes_minute=1440)
    night = period(datetime(2026, 1, 14, 23, tzinfo=UTC), 120)
    assert (await gyms.QuotePrice(QuotePriceRequest(gym_id=created.gym_id, period=night))).quote.credits == 6


@pytest.mark.parametrize(
    ("name", "same_name"),
    [("Field Street Gym", "FIELD street gym"), ("Straße", "STRASSE"), ("Élan", "élan"), ("Élan", "E\u0301LAN")],
)
async def test_a_name_belongs_to_one_gym(gyms: GymServiceAsyncStub, name: str, same_name: str) -> None:
    """A name that differs only in case or in composed accents fails with GYM_NAME_TAKEN, in every script."""
    await add_gym(gyms, name)

    with pytest.raises(GymNameTaken):
        await add_gym(gyms, same_name)


async def test_one_of_twenty_concurrent_gyms_gets_a_name(gyms: GymServiceAsyncStub) -> None:
    """Of twenty concurrent gyms with one name, one is created and nineteen fail with GYM_NAME_TAKEN."""
    answers = await asyncio.gather(*[gyms.CreateGym(create_request()) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, GymNameTaken) for answer in answers) == 19
    assert len((await gyms.ListGyms(ListGymsRequest())).gyms) == 1


@pytest.mark.requirement("S6")
async def test_a_repeated_creation_gets_the_first_answer(gyms: GymServiceAsyncStub) -> None:
    """Eight concurrent requests with one key create one gym and get the same answer."""
    key = (("idempotency-key", "gym-of-field-street"),)

    answers = await asyncio.gather(*[gyms.CreateGym(create_request(), metadata=key) for _ in range(8)])

    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert len((await gyms.ListGyms(ListGymsRequest())).gyms) == 1


async def test_a_replayed_answer_is_marked(gyms: GymServiceAsyncStub) -> None:
    """A replayed answer has `idempotent-replayed: true` in its trailing metadata, and the first answer does not."""
    replayed = []
    for _ in range(2):
        call: Any = gyms.CreateGym(create_request(), metadata=(("idempotency-key", "gym-of-field-street"),))
        await call
        replayed.append(dict(await call.trailing_metadata()).get(REPLAYED))

    assert replayed == [None, "true"]


async def test_a_key_cannot_create_two_different_gyms(gyms: GymServiceAsyncStub) -> None:
    """Reusing a key with another request fails with IDEMPOTENCY_KEY_REUSED."""
    key = (("idempotency-key", "gym-of-field-street"),)
    await gyms.CreateGym(create_request(), metadata=key)

    with pytest.raises(IdempotencyKeyReused):
        await gyms.CreateGym(create_request("Another Gym"), metadata=key)


async def test_an_invalid_request_does_not_use_up_its_key(gyms: GymServiceAsyncStub, mesh: MeshForTests) -> None:
    """An invalid request is rejected before its key is stored, so that a valid one can use the key."""
    key = (("idempotency-key", "gym-of-field-street"),)
    with pytest.raises(InvalidRequest):
        await gyms.CreateGym(create_request(""), metadata=key)

    async with mesh.database("gym").connection() as connection:
        assert await connection.fetchval("select count(*) from idempotency_keys") == 0
    assert (await gyms.CreateGym(create_request(), metadata=key)).gym.name == "Field Street Gym"


async def test_a_key_in_progress_is_answered_with_a_retry_delay(gyms: GymServiceAsyncStub, mesh: MeshForTests) -> None:
    """A call fails with ABORTED and RetryInfo while its key is in use by another call, and can be repeated later."""
    key = (("idempotency-key", "gym-of-field-street"),)
    async with mesh.database("gym").connection() as connection:
        earlier = connection.transaction()
        await earlier.start()
        await connection.execute(
            "insert into idempotency_keys (caller, request_type, key, request_sha256) values ($1, $2, $3, '')",
            OPERATOR,
            CreateGymRequest.DESCRIPTOR.full_name,
            "gym-of-field-street",
        )
        with pytest.raises(RequestInProgress) as refusal:
            # The call waits for half of its timeout. A busy machine needs part of the other half to answer.
            await gyms.CreateGym(create_request(), metadata=key, timeout=8)
        await earlier.rollback()

    assert (refusal.value.code, refusal.value.retry_after_s) == (grpc.StatusCode.ABORTED, IN_PROGRESS_RETRY_S)
    await gyms.CreateGym(create_request(), metadata=key)


@pytest.mark.requirement("S6")
async def test_a_taken_name_does_not_use_up_the_key(gyms: GymServiceAsyncStub) -> None:
    """A request that failed with GYM_NAME_TAKEN had no effect, so that its key can be used again."""
    key = (("idempotency-key", "gym-of-field-street"),)
    await add_gym(gyms)
    with pytest.raises(GymNameTaken):
        await gyms.CreateGym(create_request("field street gym"), metadata=key)

    assert (await gyms.CreateGym(create_request("Another Gym"), metadata=key)).gym.name == "Another Gym"


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "Field\x00Street"}, "name"),
        ({"noise_policy": "\x00"}, "noise_policy"),
        ({"time_zone": "Europe/Londinium"}, "time_zone"),
        ({"time_zone": "Factory"}, "time_zone"),
        ({"price_per_hour": pounds(0)}, "price_per_hour"),
        ({"price_per_hour": pounds(MAX_HOURLY_PRICE + 1)}, "price_per_hour.minor_units"),
        ({"price_per_hour": Money(currency_code="pounds", minor_units=1)}, "price_per_hour.currency_code"),
        ({"credits_per_hour": 0}, "credits_per_hour"),
        ({"credits_per_hour": MAX_HOURLY_PRICE + 1}, "credits_per_hour"),
        ({"opening_hours": OpeningHours(opens_minute=600, closes_minute=600)}, "opening_hours"),
        ({"opening_hours": OpeningHours(opens_minute=600, closes_minute=2041)}, "opening_hours"),
        ({"opening_hours": OpeningHours(opens_minute=1440, closes_minute=1441)}, "opening_hours.opens_minute"),
        ({"waiting_list_mode": 99}, "waiting_list_mode"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_invalid_gym_names_its_field(
    shared_gyms: GymServiceAsyncStub, fields: dict[str, Any], field: str
) -> None:
    """CreateGym rejects an invalid gym, names the bad field and stores nothing."""
    with pytest.raises(InvalidRequest) as refusal:
        await shared_gyms.CreateGym(create_request(**fields))

    assert fields_of(refusal.value) == [field]
    assert not (await shared_gyms.ListGyms(ListGymsRequest())).gyms


@pytest.mark.requirement("C3")
async def test_all_invalid_fields_are_named_at_once(gyms: GymServiceAsyncStub) -> None:
    """CreateGym names every invalid field in one answer."""
    with pytest.raises(InvalidRequest) as refusal:
        await gyms.CreateGym(create_request(time_zone="Nowhere", credits_per_hour=MAX_HOURLY_PRICE + 1))

    assert fields_of(refusal.value) == ["time_zone", "credits_per_hour"]


async def test_an_unknown_gym_is_not_found(gyms: GymServiceAsyncStub) -> None:
    """GetGym and QuotePrice fail with GYM_NOT_FOUND for an unknown gym."""
    with pytest.raises(GymNotFound):
        await gyms.GetGym(GetGymRequest(gym_id=str(uuid4())))
    with pytest.raises(GymNotFound):
        await gyms.QuotePrice(QuotePriceRequest(gym_id=str(uuid4()), period=period()))


@pytest.mark.requirement("C3")
async def test_an_invalid_id_is_rejected(gyms: GymServiceAsyncStub) -> None:
    """GetGym rejects an id that is no UUID, and names the field."""
    with pytest.raises(InvalidRequest) as refusal:
        await gyms.GetGym(GetGymRequest(gym_id="field-street"))

    assert fields_of(refusal.value) == ["gym_id"]


@pytest.mark.requirement("S1")
async def test_a_caller_with_only_the_read_scope_cannot_add_a_gym(mesh: MeshForTests) -> None:
    """CreateGym requires the scope gym.write, which the session service lacks."""
    with pytest.raises(ScopeMissing):
        await mesh.stub(GymServiceStub, caller="session").CreateGym(create_request())
