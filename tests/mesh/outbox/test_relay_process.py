from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.child import Child
from mesh.config import child_environment
from mesh.data.database import Database
from mesh.transaction import Transaction
from services.payment import app as payment
from solo60.payment.v1.payment_pb2 import RefundSessionRequest
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import DatabaseFactory
    from tests.support.serving import Serve

pytestmark = pytest.mark.system

SESSION_ID = "0198c1a2-0000-7000-8000-000000000001"


async def test_a_relay_in_its_own_process_delivers_and_stops_with_its_parent(
    serve: Serve, database_url: DatabaseFactory, tmp_path: Path
) -> None:
    """A relay in its own process delivers with the service's key and stops with its parent."""
    mesh = await serve(payment.SERVICE)
    url = await database_url("session")
    sessions = await Database.connect(url)
    async with Transaction.begin(sessions) as tx:
        refund = RefundSessionRequest(session_id=SESSION_ID)
        await tx.call_later(mesh.stub(PaymentServiceStub).RefundSession, refund)
    given = {name: getattr(mesh.settings, name) for name in ("keyring_file", "payment_service_url", "deadline_factor")}
    environment = child_environment(**given, service_api_key=mesh.keys["session"], stop_with_parent=True)

    relay = Child("session", environment, tmp_path / "relay.jsonl", ["cli", "relay", "session"])
    try:
        relay.send_line(url)
        await eventually(lambda: holds(sessions, "select count(*) = 1 from outbox where status = 'delivered'"))
        relay._standard_input.close()
        assert await relay.wait() == 0, relay.last_output()
    finally:
        relay.kill()
        await relay.wait()
        await sessions.close()

    assert await holds(mesh.database("payment"), "select void_time is not null from sessions")


async def holds(database: Database, query: str) -> bool:
    """Run a query; return its boolean result."""
    async with database.connection() as connection:
        return bool(await connection.fetchval(query))
