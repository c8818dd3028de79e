"""Transactional outbox: stores calls and events in the caller's transaction and delivers them after it commits.

    async with store.transaction() as tx:
        await store.cancel(tx, session)
        await tx.call_later(payments.RefundSession, RefundSessionRequest(session_id=session.session_id))
        await tx.publish(SessionCancelled(session_id=session.session_id))

`mesh.transaction` writes the messages. A relay in the service's process delivers committed messages at least once. The
message id is the idempotency key, so a receiver that acts once per key acts exactly once. docs/outbox.md lists the
guarantees.
"""
