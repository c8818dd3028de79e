"""Fixtures: the payment service, or its database alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mesh.data.database import Database
from services.payment.app import SERVICE
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.support.postgres import superuser_url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.postgres import DatabaseFactory
    from tests.support.serving import MeshForTests, Serve


@pytest.fixture
async def payment_url(database_url: DatabaseFactory) -> str:
    """Create a payment database on which no service runs."""
    return await database_url("payment")


@pytest.fixture
async def database(payment_url: str) -> AsyncIterator[Database]:
    """Connect to the payment database as the service does."""
    database = await Database.connect(payment_url)
    yield database
    await database.close()


@pytest.fixture
async def superuser(payment_url: str) -> AsyncIterator[Database]:
    """Connect to the payment database as a superuser."""
    database = await Database.connect(superuser_url_of(payment_url), max_connections=1)
    yield database
    await database.close()


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Serve payment with the test-mode card processor."""
    return await serve(SERVICE)


@pytest.fixture
def payments(mesh: MeshForTests) -> PaymentServiceAsyncStub:
    """Return a stub of payment with every scope."""
    return mesh.stub(PaymentServiceStub)
