"""Session stores without a running service: follow-up messages stay in the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.stores import Stores
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.support.offline_stub import offline_stub

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.session.booking.store import BookingStore


def bookings_on(database: Database) -> BookingStore:
    """Return the booking store of a database."""
    return stores_on(database).bookings


def stores_on(database: Database) -> Stores:
    """Return the stores of a database. Calls through their stubs fail."""
    return Stores.on(database, offline_stub(PaymentServiceStub), offline_stub(SessionServiceStub))
