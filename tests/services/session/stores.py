"""Stores of sessions that no service runs on: what follows from a change stays in their outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.follow_ups import FollowUps
from services.session.stores import Stores
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.support.nobody import stub_of_nobody

if TYPE_CHECKING:
    from mesh.database import Database
    from services.session.store import SessionStore


def store_on(database: Database) -> SessionStore:
    """Make the store of the sessions of a database."""
    return stores_on(database).sessions


def stores_on(database: Database) -> Stores:
    """Make the stores of a database; their stubs are for naming what is called, and call nobody."""
    return Stores.on(database, FollowUps(stub_of_nobody(PaymentServiceStub), stub_of_nobody(SessionServiceStub)))
