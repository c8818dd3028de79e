"""Definition of the user service."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.serving.service import Service
from services.user.erasure import Erasure
from services.user.servicer import UserServicer
from services.user.store import UserStore
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import DESCRIPTOR
from solo60.user.v1.user_pb2_grpc import UserServiceStub, add_UserServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.service import Runtime


@asynccontextmanager
async def open_user(runtime: Runtime) -> AsyncIterator[UserServicer]:
    """Yield the servicer. This service has no background tasks."""
    store = UserStore(runtime.database)
    erasure = Erasure(
        store,
        users=runtime.channels.stub(UserServiceStub),
        auth=runtime.channels.stub(AuthServiceStub),
        sessions=runtime.channels.stub(SessionServiceStub),
        subscriptions=runtime.channels.stub(SubscriptionServiceStub),
        communication=runtime.channels.stub(CommunicationServiceStub),
        now=runtime.now,
    )
    yield UserServicer(store, erasure, now=runtime.now)


SERVICE = Service(
    name="user",
    descriptor=DESCRIPTOR.services_by_name["UserService"],
    add_to_server=add_UserServiceServicer_to_server,
    open=open_user,
    migrations=Path(__file__).parent / "migrations",
)
