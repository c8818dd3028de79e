"""The outbox: what must happen later is written in the caller's transaction, and happens once, whatever dies (A1, L3).

    async with database.transaction() as connection:
        await store.cancel(connection, session)
        await call_later(connection, payments.RefundSession, RefundSessionRequest(session_id=session.session_id))
        await publish(connection, SessionCancelled(session_id=session.session_id))

A relay in the service's process delivers what is committed, at least once, with the message's id as idempotency key: a
receiver that acts once for each key acts exactly once. docs/outbox.md says what is promised.
"""

from mesh.outbox.writer import call_later as call_later
from mesh.outbox.writer import cancel_later as cancel_later
from mesh.outbox.writer import publish as publish
