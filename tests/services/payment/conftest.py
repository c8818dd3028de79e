"""Payment served for one test; every ledger that a test makes is looked over when the test ends (T-h1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mesh.database import Database
from services.payment.app import SERVICE
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.services.payment.ledger import violations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from tests.support.postgres import DatabaseFactory, DatabaseOpener
    from tests.support.serving import MeshForTests, Serve


@pytest.fixture(autouse=True)
async def database_url(database_url: DatabaseFactory) -> AsyncIterator[DatabaseFactory]:
    """Make databases as everywhere, and find no broken invariant in them at the end."""
    urls: list[str] = []

    async def create(service: str) -> str:
        urls.append(await database_url(service))
        return urls[-1]

    yield create
    for url in urls:
        database = await Database.connect(url, max_connections=1)
        try:
            assert await violations(database) == {}
        finally:
            await database.close()


@pytest.fixture
async def database(open_database: DatabaseOpener) -> Database:
    """Connect to a database of payment that no service runs on."""
    return await open_database("payment")


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Serve payment with the processor of test mode."""
    return await serve(SERVICE)


@pytest.fixture
def payments(mesh: MeshForTests) -> PaymentServiceAsyncStub:
    """Call payment with every scope."""
    return mesh.stub(PaymentServiceStub)
