from __future__ import annotations

import asyncpg
import pytest

from mesh.data.integrity import find_broken_invariants
from tests.services.payment.charged import Charged, charged, mesh, refunded_session
from tests.services.payment.failed_refunds.refund_events import refund_event
from tests.services.payment.ledger_queries import violations
from tests.support.postgres import superuser_url_of

__all__ = ["charged", "mesh", "refunded_session"]


@pytest.mark.parametrize("statement", ["delete from failed_refunds", "update failed_refunds set minor_units = 1"])
async def test_a_failed_refund_stays(refunded_session: Charged, statement: str) -> None:
    """The database refuses to change or delete a failed refund."""
    await refunded_session.deliver(refund_event(refunded_session.intent_id))

    async with refunded_session.database.connection() as connection:
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute(statement)


@pytest.mark.parametrize(
    ("breakage", "view"),
    [
        ("delete from failed_refunds", "violation_failed_refund_not_ledger"),
        ("update failed_refunds set minor_units = 1", "violation_failed_refund_not_ledger"),
        ("delete from transactions where kind = 'refund_failed'", "violation_failed_refund_not_ledger"),
        # A second refund of money that is owed already.
        ("update entries set amount = amount * 2 where amount > 0", "violation_refund_above_capture"),
    ],
)
async def test_the_invariants_find_a_broken_failed_refund(refunded_session: Charged, breakage: str, view: str) -> None:
    """The invariants hold with a failed refund, and report one that the ledger does not hold, or a second refund."""
    await refunded_session.deliver(refund_event(refunded_session.intent_id))
    before = await violations(refunded_session.database)

    connection = await asyncpg.connect(superuser_url_of(refunded_session.mesh.database_url_of("payment")))
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("set local session_replication_role = replica")
    await connection.execute(breakage)
    found = await find_broken_invariants(connection)
    await transaction.rollback()
    await connection.close()

    assert before == set()
    assert view in {violation.view for violation in found}
