"""Definition of the auth service, with a background task that deletes expired data."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.periodic import repeating
from mesh.serving.service import Service
from services.auth.passwords.hasher import open_hasher
from services.auth.servicer import AuthServicer
from services.auth.stores import Stores
from services.auth.tokens.issuer import TokenIssuer
from services.auth.tokens.store import SigningKeyStore
from services.auth.user_directory import UserDirectory
from solo60.auth.v1.auth_pb2 import DESCRIPTOR
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub, add_AuthServiceServicer_to_server
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.service import Runtime

# Longest time that the salt of a used refresh token, or a private key that no longer signs, stays stored for nothing.
TIDY_INTERVAL_S = 600.0


@asynccontextmanager
async def open_auth(runtime: Runtime) -> AsyncIterator[AuthServicer]:
    """Yield the servicer while its threads and its background task run."""
    stores = Stores.on(runtime.database, runtime.channels.stub(AuthServiceStub))
    issuer = TokenIssuer(SigningKeyStore(runtime.database))
    users = UserDirectory(runtime.channels.stub(UserServiceStub))
    communication = runtime.channels.stub(CommunicationServiceStub)

    async def tidy() -> None:
        await stores.tidy(runtime.now())
        await issuer.rotate(runtime.now())

    with open_hasher() as hasher:
        async with repeating("tidying log-ins, codes and keys", tidy, TIDY_INTERVAL_S, runtime.clock.sleep):
            yield AuthServicer(stores, hasher, issuer, users, communication, runtime.now)


SERVICE = Service(
    name="auth",
    descriptor=DESCRIPTOR.services_by_name["AuthService"],
    add_to_server=add_AuthServiceServicer_to_server,
    open=open_auth,
    migrations=Path(__file__).parent / "migrations",
)
