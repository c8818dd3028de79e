"""RPC handlers of the gym service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import GymNotFound
from mesh.data.etags import require_etag
from mesh.data.pages import page_of
from services.gym.domain import WaitingListMode
from services.gym.wire import (
    parse_changed_properties,
    parse_period,
    parse_properties,
    render_gym,
    render_mode_changed,
    render_quote,
)
from solo60.gym.v1.gym_pb2 import (
    CreateGymResponse,
    GetGymResponse,
    ListGymsResponse,
    QuotePriceResponse,
    UpdateGymResponse,
)
from solo60.gym.v1.gym_pb2_grpc import GymServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import grpc.aio

    from mesh.transaction import Transaction
    from services.gym.domain import Gym, GymProperties
    from services.gym.store import GymStore
    from solo60.gym.v1.gym_pb2 import (
        CreateGymRequest,
        GetGymRequest,
        ListGymsRequest,
        QuotePriceRequest,
        UpdateGymRequest,
    )


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

    async def UpdateGym(
        self, request: UpdateGymRequest, context: grpc.aio.ServicerContext[UpdateGymRequest, UpdateGymResponse]
    ) -> UpdateGymResponse:
        async with self._store.transaction() as tx:
            return await tx.once(request, UpdateGymResponse, partial(self._update_gym, tx, request))

    async def QuotePrice(
        self, request: QuotePriceRequest, context: grpc.aio.ServicerContext[QuotePriceRequest, QuotePriceResponse]
    ) -> QuotePriceResponse:
        period = parse_period(request.period)
        gym = await self._gym(request.gym_id)
        return QuotePriceResponse(quote=render_quote(gym, gym.quote(period)))

    async def _create_gym(self, tx: Transaction, properties: GymProperties) -> CreateGymResponse:
        gym = await self._store.add(tx, properties, self._now())
        if gym.properties.waiting_list_mode is not WaitingListMode.NOTIFY_ALL:
            await tx.publish(render_mode_changed(gym))
        return CreateGymResponse(gym=render_gym(gym))

    async def _update_gym(self, tx: Transaction, request: UpdateGymRequest) -> UpdateGymResponse:
        gym = _found(await self._store.lock(tx, UUID(request.gym.gym_id)))
        require_etag(request.gym.etag, render_gym(gym).etag)
        changed = gym.with_properties(parse_changed_properties(request, gym.properties), self._now())
        await self._store.save(tx, changed)
        if changed.properties.waiting_list_mode is not gym.properties.waiting_list_mode:
            await tx.publish(render_mode_changed(changed))
        return UpdateGymResponse(gym=render_gym(changed))

    async def _gym(self, gym_id: str) -> Gym:
        return _found(await self._store.find(UUID(gym_id)))


def _found(gym: Gym | None) -> Gym:
    if gym is None:
        raise GymNotFound
    return gym
