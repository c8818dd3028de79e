"""Transactional outbox: stores calls and events in the caller's transaction and delivers them after it commits.

    async with database.transaction() as connection:
        await store.cancel(connection, session)
        await call_later(connection, payments.RefundSession, RefundSessionRequest(session_id=session.session_id))
        await publish(connection, SessionCancelled(session_id=session.session_id))

A relay in the service's process delivers committed messages at least once. The message id is the idempotency key, so a
receiver that acts once per key acts exactly once. docs/outbox.md lists the guarantees.
"""

from mesh.outbox.writer import call_later as call_later
from mesh.outbox.writer import cancel_later as cancel_later
from mesh.outbox.writer import publish as publish
