"""Definition of the session service: servicer, reconciler and availability watchers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.data.notifications import listening
from mesh.serving.service import Service
from services.session.availability.watchers import CHANNEL, Watchers
from services.session.booking.workflow import BookingWorkflow
from services.session.directory import Directory
from services.session.mails.mailer import Mailer
from services.session.reconciler import reconciling
from services.session.servicer import SessionServicer
from services.session.sessions.relations import Relations
from services.session.stores import Stores
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import DESCRIPTOR
from solo60.session.v1.session_pb2_grpc import SessionServiceStub, add_SessionServiceServicer_to_server
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.service import Runtime


@asynccontextmanager
async def open_session(runtime: Runtime) -> AsyncIterator[SessionServicer]:
    """Yield the servicer, and run the reconciler and the availability listener meanwhile."""
    users, gyms = runtime.channels.stub(UserServiceStub), runtime.channels.stub(GymServiceStub)
    payments = runtime.channels.stub(PaymentServiceStub)
    mailer = Mailer(users, gyms, runtime.channels.stub(CommunicationServiceStub))
    stores = Stores.on(runtime.database, payments, runtime.channels.stub(SessionServiceStub))
    directory = Directory(users, gyms)
    booking = BookingWorkflow(stores.bookings, directory, stores.offers, payments, runtime.now)
    relations = Relations(users, gyms, payments)
    async with reconciling(stores, runtime), _watchers(runtime) as watchers:
        yield SessionServicer(stores, booking, directory, mailer, relations, watchers, runtime.now)


@asynccontextmanager
async def _watchers(runtime: Runtime) -> AsyncIterator[Watchers]:
    """Yield the watchers of this process, woken by database notifications; end them when the process stops."""
    watchers = Watchers()
    ending = asyncio.create_task(watchers.end_with(runtime.stopping))
    try:
        async with listening(runtime.database_url, CHANNEL, watchers.wake_gym, watchers.wake_all):
            yield watchers
    finally:
        ending.cancel()
        await asyncio.wait([ending])


SERVICE = Service(
    name="session",
    descriptor=DESCRIPTOR.services_by_name["SessionService"],
    add_to_server=add_SessionServiceServicer_to_server,
    open=open_session,
    migrations=Path(__file__).parent / "migrations",
)
