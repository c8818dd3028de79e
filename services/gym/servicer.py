"""RPC handlers of the gym service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import GymNotFound
from mesh.data.pages import page_of
from services.gym.wire import (
    parse_period,
    parse_properties,
    render_gym,
    render_quote,
)
from solo60.gym.v1.gym_pb2 import CreateGymResponse, GetGymResponse, ListGymsResponse, QuotePriceResponse
from solo60.gym.v1.gym_pb2_grpc import GymServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import grpc.aio

    from mesh.transaction import Transaction
    from services.gym.domain import Gym, GymProperties
    from services.gym.store import GymStore
    from solo60.gym.v1.gym_pb2 import CreateGymRequest, GetGymRequest, ListGymsRequest, QuotePriceRequest


class GymServicer(GymServiceServicer):
    """RPC handlers for gyms. `now` returns the current time in UTC."""

    def __init__(self, store: GymStore, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def GetGym(
        self, request: GetGymRequest, context: grpc.aio.ServicerContext[GetGymRequest, GetGymResponse]
    ) -> GetGymResponse:
        return GetGymResponse(gym=render_gym(await self._gym(request.gym_id)))

    async def ListGyms(
        self, request: ListGymsRequest, context: grpc.aio.ServicerContext[ListGymsRequest, ListGymsResponse]
    ) -> ListGymsResponse:
        page = page_of(request)
        found = await self._store.list_by_name(page.limit, after=page.after(UUID))
        gyms, next_page_token = page.cut(found, lambda last: last.gym_id)
        return ListGymsResponse(gyms=map(render_gym, gyms), next_page_token=next_page_token)

    async def CreateGym(
        self, request: CreateGymRequest, context: grpc.aio.ServicerContext[CreateGymRequest, CreateGymResponse]
    ) -> CreateGymResponse:
        properties = parse_properties(request)
        async with self._store.transaction() as tx:
            return await tx.once(request, CreateGymResponse, partial(self._create_gym, tx, properties))

    async def QuotePrice(
        self, request: QuotePriceRequest, context: grpc.aio.ServicerContext[QuotePriceRequest, QuotePriceResponse]
    ) -> QuotePriceResponse:
        period = parse_period(request.period)
        gym = await self._gym(request.gym_id)
        return QuotePriceResponse(quote=render_quote(gym, gym.quote(period)))

    async def _create_gym(self, tx: Transaction, properties: GymProperties) -> CreateGymResponse:
        gym = await self._store.add(tx, properties, self._now())
        return CreateGymResponse(gym=render_gym(gym))

    async def _gym(self, gym_id: str) -> Gym:
        gym = await self._store.find(UUID(gym_id))
        if gym is None:
            raise GymNotFound
        return gym
