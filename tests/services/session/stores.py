"""Stores of sessions that no service runs on: what follows from a change stays in their outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.channel import Channels
from mesh.config import Settings
from services.session.follow_ups import FollowUps
from services.session.stores import Stores
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from mesh.database import Database
    from services.session.store import SessionStore


def store_on(database: Database) -> SessionStore:
    """Make the store of the sessions of a database."""
    return stores_on(database).sessions


def stores_on(database: Database) -> Stores:
    """Make the stores of a database; their stubs are for naming what is called, and call nobody."""
    channels = Channels(Settings(_env_file=None), lambda: "no key")  # type: ignore[call-arg]  # pydantic-settings' own argument
    return Stores.on(database, FollowUps(channels.stub(PaymentServiceStub), channels.stub(SessionServiceStub)))
