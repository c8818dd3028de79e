from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID, uuid4

import grpc
import pytest
import pytest_asyncio

from contracts.errors import (
    GymClosed,
    GymNameTaken,
    GymNotFound,
    IdempotencyKeyReused,
    InvalidRequest,
    RequestInProgress,
    ScopeMissing,
    ServiceError,
)
from interceptors.idempotency import REPLAYED
from local.keys import OPERATOR
from mesh.data.idempotency import IN_PROGRESS_RETRY_S
from services.gym.app import SERVICE
from services.gym.domain import MAX_HOURLY_PRICE
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.gym_pb2 import (
    CreateGymRequest,
    GetGymRequest,
    Gym,
    ListGymsRequest,
    OpeningHours,
    Quote,
    QuotePriceRequest,
)
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub

if TYPE_CHECKING:
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve

Gyms: TypeAlias = "GymServiceAsyncStub"

NOON = datetime(2026, 1, 14, 12, tzinfo=UTC)
FAR_FUTURE = datetime(9999, 12, 31, 12, tzinfo=UTC)


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Run the gym service."""
    return await serve(SERVICE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gyms(serve_module: Serve) -> Gyms:
    """Serve once for all calls that are rejected and change nothing."""
    return (await serve_module(SERVICE)).stub(GymServiceStub)


@pytest.fixture
def gyms(mesh: MeshForTests) -> Gyms:
    """Return a stub with every scope."""
    return mesh.stub(GymServiceStub)


def a_gym(name: str = "Field Street Gym", **fields: Any) -> CreateGymRequest:
    """Return a request to create a gym in London at £12.50 or 3 credits an hour."""
    given = {"time_zone": "Europe/London", "credits_per_hour": 3, "price_per_hour": pounds(1250), **fields}
    return CreateGymRequest(name=name, **given)


def pounds(pence: int) -> Money:
    """Return an amount of money."""
    return Money(currency_code="GBP", minor_units=pence)


def period(start: datetime = NOON, minutes: int = 60) -> Period:
    """Return a period with this start and length."""
    message = Period()
    message.start_time.FromDatetime(start)
    message.end_time.FromDatetime(start + timedelta(minutes=minutes))
    return message


async def added(gyms: Gyms, name: str = "Field Street Gym", **fields: Any) -> Gym:
    """Add a gym and return it."""
    return (await gyms.CreateGym(a_gym(name, **fields))).gym


def fields_of(error: ServiceError) -> list[str]:
    """Return the fields that an error names."""
    return [violation.field for violation in error.violations]


@pytest.mark.requirement("C1")
async def test_a_gym_is_added_and_found(gyms: Gyms) -> None:
    """CreateGym returns the whole gym, and GetGym returns the same."""
    hours = OpeningHours(opens_minute=360, closes_minute=1320)
    created = await added(gyms, noise_policy="No dropped weights", opening_hours=hours, requires_approval=True)

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
        create_time=created.create_time,
        update_time=created.create_time,
    )


@pytest.mark.requirement("C1")
async def test_a_gym_is_by_default_always_open(gyms: Gyms) -> None:
    """A gym created without opening hours is open around the clock."""
    created = await added(gyms)

    assert created.opening_hours == OpeningHours(opens_minute=0, closes_minute=1440)
    night = period(datetime(2026, 1, 14, 23, tzinfo=UTC), 120)
    assert (await gyms.QuotePrice(QuotePriceRequest(gym_id=created.gym_id, period=night))).quote.credits == 6


@pytest.mark.parametrize(
    ("name", "same_name"),
    [("Field Street Gym", "FIELD street gym"), ("Straße", "STRASSE"), ("Élan", "élan"), ("Élan", "E\u0301LAN")],
)
async def test_a_name_belongs_to_one_gym(gyms: Gyms, name: str, same_name: str) -> None:
    """A name that differs only in case or in composed accents fails with GYM_NAME_TAKEN, in every script."""
    await added(gyms, name)

    with pytest.raises(GymNameTaken):
        await added(gyms, same_name)


async def test_one_of_twenty_concurrent_gyms_gets_a_name(gyms: Gyms) -> None:
    """Of twenty concurrent gyms with one name, one is created and nineteen fail with GYM_NAME_TAKEN."""
    answers = await asyncio.gather(*[gyms.CreateGym(a_gym()) for _ in range(20)], return_exceptions=True)

    assert sum(isinstance(answer, GymNameTaken) for answer in answers) == 19
    assert len((await gyms.ListGyms(ListGymsRequest())).gyms) == 1


@pytest.mark.requirement("S6")
async def test_a_repeated_creation_gets_the_first_answer(gyms: Gyms) -> None:
    """Eight concurrent requests with one key create one gym and get the same answer."""
    key = (("idempotency-key", "gym-of-field-street"),)

    answers = await asyncio.gather(*[gyms.CreateGym(a_gym(), metadata=key) for _ in range(8)])

    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert len((await gyms.ListGyms(ListGymsRequest())).gyms) == 1


async def test_a_replayed_answer_is_marked(gyms: Gyms) -> None:
    """A replayed answer has `idempotent-replayed: true` in its trailing metadata, and the first answer does not."""
    replayed = []
    for _ in range(2):
        call: Any = gyms.CreateGym(a_gym(), metadata=(("idempotency-key", "gym-of-field-street"),))
        await call
        replayed.append(dict(await call.trailing_metadata()).get(REPLAYED))

    assert replayed == [None, "true"]


async def test_a_key_cannot_create_two_different_gyms(gyms: Gyms) -> None:
    """Reusing a key with another request fails with IDEMPOTENCY_KEY_REUSED."""
    key = (("idempotency-key", "gym-of-field-street"),)
    await gyms.CreateGym(a_gym(), metadata=key)

    with pytest.raises(IdempotencyKeyReused):
        await gyms.CreateGym(a_gym("Another Gym"), metadata=key)


async def test_an_invalid_request_does_not_use_up_its_key(gyms: Gyms, mesh: MeshForTests) -> None:
    """An invalid request is rejected before its key is stored, so that a valid one can use the key."""
    key = (("idempotency-key", "gym-of-field-street"),)
    with pytest.raises(InvalidRequest):
        await gyms.CreateGym(a_gym(""), metadata=key)

    async with mesh.database("gym").connection() as connection:
        assert await connection.fetchval("select count(*) from idempotency_keys") == 0
    assert (await gyms.CreateGym(a_gym(), metadata=key)).gym.name == "Field Street Gym"


async def test_a_key_in_progress_is_answered_with_a_retry_delay(gyms: Gyms, mesh: MeshForTests) -> None:
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
            await gyms.CreateGym(a_gym(), metadata=key, timeout=8)
        await earlier.rollback()

    assert (refusal.value.code, refusal.value.retry_after_s) == (grpc.StatusCode.ABORTED, IN_PROGRESS_RETRY_S)
    await gyms.CreateGym(a_gym(), metadata=key)


@pytest.mark.requirement("S6")
async def test_a_taken_name_does_not_use_up_the_key(gyms: Gyms) -> None:
    """A request that failed with GYM_NAME_TAKEN had no effect, so that its key can be used again."""
    key = (("idempotency-key", "gym-of-field-street"),)
    await added(gyms)
    with pytest.raises(GymNameTaken):
        await gyms.CreateGym(a_gym("field street gym"), metadata=key)

    assert (await gyms.CreateGym(a_gym("Another Gym"), metadata=key)).gym.name == "Another Gym"


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
        ({"opening_hours": OpeningHours(opens_minute=600, closes_minute=1441)}, "opening_hours.closes_minute"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_invalid_gym_names_its_field(shared_gyms: Gyms, fields: dict[str, Any], field: str) -> None:
    """CreateGym rejects an invalid gym, names the bad field and stores nothing."""
    with pytest.raises(InvalidRequest) as refusal:
        await shared_gyms.CreateGym(a_gym(**fields))

    assert fields_of(refusal.value) == [field]
    assert not (await shared_gyms.ListGyms(ListGymsRequest())).gyms


@pytest.mark.requirement("C3")
async def test_all_invalid_fields_are_named_at_once(gyms: Gyms) -> None:
    """CreateGym names every invalid field in one answer."""
    with pytest.raises(InvalidRequest) as refusal:
        await gyms.CreateGym(a_gym(time_zone="Nowhere", credits_per_hour=MAX_HOURLY_PRICE + 1))

    assert fields_of(refusal.value) == ["time_zone", "credits_per_hour"]


async def test_an_unknown_gym_is_not_found(gyms: Gyms) -> None:
    """GetGym and QuotePrice fail with GYM_NOT_FOUND for an unknown gym."""
    with pytest.raises(GymNotFound):
        await gyms.GetGym(GetGymRequest(gym_id=str(uuid4())))
    with pytest.raises(GymNotFound):
        await gyms.QuotePrice(QuotePriceRequest(gym_id=str(uuid4()), period=period()))


@pytest.mark.requirement("C3")
async def test_an_invalid_id_is_rejected(gyms: Gyms) -> None:
    """GetGym rejects an id that is no UUID, and names the field."""
    with pytest.raises(InvalidRequest) as refusal:
        await gyms.GetGym(GetGymRequest(gym_id="field-street"))

    assert fields_of(refusal.value) == ["gym_id"]


@pytest.mark.requirement("C1")
async def test_gyms_are_listed_by_name_in_pages(gyms: Gyms) -> None:
    """ListGyms lists each gym once, in pages, by name without regard to case (AIP-158)."""
    for name in ("delta", "Bravo", "echo", "alpha", "Charlie"):
        await added(gyms, name)

    pages: list[list[str]] = []
    token, is_last = "", False
    while not is_last:
        answer = await gyms.ListGyms(ListGymsRequest(page_size=2, page_token=token))
        pages.append([gym.name for gym in answer.gyms])
        token = answer.next_page_token
        is_last = not token

    assert pages == [["alpha", "Bravo"], ["Charlie", "delta"], ["echo"]]


@pytest.mark.requirement("C1")
async def test_a_full_last_page_has_no_next_page_token(gyms: Gyms) -> None:
    """The last page has no `next_page_token`, even if it is full, and neither has an empty list."""
    assert not (await gyms.ListGyms(ListGymsRequest())).next_page_token
    for name in ("alpha", "bravo"):
        await added(gyms, name)

    answer = await gyms.ListGyms(ListGymsRequest(page_size=2))

    assert [gym.name for gym in answer.gyms] == ["alpha", "bravo"]
    assert not answer.next_page_token


@pytest.mark.requirement("C1")
async def test_a_page_has_fifty_gyms_by_default(gyms: Gyms) -> None:
    """A `page_size` of 0 means 50."""
    await asyncio.gather(*[gyms.CreateGym(a_gym(f"gym {number:02}")) for number in range(51)])

    answer = await gyms.ListGyms(ListGymsRequest())

    assert [gym.name for gym in answer.gyms] == [f"gym {number:02}" for number in range(50)]
    rest = await gyms.ListGyms(ListGymsRequest(page_token=answer.next_page_token))
    assert [gym.name for gym in rest.gyms] == ["gym 50"]


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("token", ["guessed", "0" * 32, "\x00"])
async def test_an_unknown_page_token_is_rejected(gyms: Gyms, token: str) -> None:
    """ListGyms rejects a page token that no answer contained, and names the field."""
    with pytest.raises(InvalidRequest) as refusal:
        await gyms.ListGyms(ListGymsRequest(page_token=token))

    assert fields_of(refusal.value) == ["page_token"]


async def test_a_page_has_at_most_a_hundred_gyms(gyms: Gyms) -> None:
    """A `page_size` above 100 means 100, and a page token may be used with another `page_size` (AIP-158)."""
    await asyncio.gather(*[gyms.CreateGym(a_gym(f"gym {number:03}")) for number in range(101)])

    answer = await gyms.ListGyms(ListGymsRequest(page_size=2**31 - 1))

    assert [gym.name for gym in answer.gyms] == [f"gym {number:03}" for number in range(100)]
    rest = await gyms.ListGyms(ListGymsRequest(page_size=1, page_token=answer.next_page_token))
    assert [gym.name for gym in rest.gyms] == ["gym 100"]


@pytest.mark.requirement("C1")
async def test_a_quote_has_the_price_and_the_rules(gyms: Gyms) -> None:
    """QuotePrice returns the exact price of the period, the noise policy and whether approval is required."""
    gym = await added(gyms, noise_policy="No dropped weights", requires_approval=True)

    answer = await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=period(minutes=75)))

    assert answer.quote == Quote(
        price=pounds(1563), credits=4, noise_policy="No dropped weights", requires_approval=True
    )


async def test_a_closed_gym_quotes_no_price(gyms: Gyms) -> None:
    """QuotePrice fails with GYM_CLOSED outside the opening hours, which are local and so differ in UTC in summer."""
    gym = await added(gyms, opening_hours=OpeningHours(opens_minute=360, closes_minute=1320))
    summer, winter = (period(datetime(2026, month, 14, 5, 30, tzinfo=UTC)) for month in (7, 1))

    assert (await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=summer))).quote.price == pounds(1250)
    with pytest.raises(GymClosed):
        await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=winter))


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Period(), "period.start_time"),
        (period(minutes=0), "period"),
        (period(minutes=-60), "period"),
        (period(minutes=50), "period"),
        (period(NOON + timedelta(microseconds=1)), "period"),
        (period(minutes=12 * 60 + 15), "period"),
        (period(FAR_FUTURE), "period.start_time"),
    ],
)
async def test_an_invalid_period_names_its_field(gyms: Gyms, asked: Period, field: str) -> None:
    """QuotePrice rejects a period that is incomplete, reversed, too long, off the quarter hours or out of range."""
    gym = await added(gyms)

    with pytest.raises(InvalidRequest) as refusal:
        await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=asked))

    assert field in fields_of(refusal.value)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("seconds", [2**62, 253_402_300_800, -(2**62)])
async def test_a_timestamp_out_of_range_is_rejected(gyms: Gyms, seconds: int) -> None:
    """QuotePrice rejects a timestamp outside protobuf's own range."""
    gym = await added(gyms)
    asked = period()
    asked.end_time.seconds = seconds

    with pytest.raises(InvalidRequest):
        await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=asked))


@pytest.mark.requirement("S1")
async def test_a_caller_with_only_the_read_scope_cannot_add_a_gym(mesh: MeshForTests) -> None:
    """CreateGym requires the scope gym.write, which the session service lacks."""
    with pytest.raises(ScopeMissing):
        await mesh.stub(GymServiceStub, caller="session").CreateGym(a_gym())
