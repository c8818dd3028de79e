"""Pending work of a mesh: waiting for its end, and a count of what is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contracts.services import SERVICE_NAMES
from mesh.data.integrity import find_broken_invariants
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from local.supervisor import Mesh

    Connection = asyncpg.Connection[asyncpg.Record]

POLL_S = 0.2

# Conditions for pending work, by table. An open offer, and the call that expires it, are not pending. MAKE_DUE sets the
# due times of such work to now, instead of waiting for the lease of a killed process, the pause between two attempts,
# the expiry of a hold or of an unsettled order, or the minute after which an erasure is final.
_IS_OPEN_OFFER = "offer_id in (select offer_id from offers where status = 'open')"
_IS_HOLD = f"status = 'pending_payment' and (offer_id is null or not {_IS_OPEN_OFFER})"
_SETTLES = "destination like '%/SettleSubscriptionOrder'"
PENDING = {
    "outbox": f"status = 'pending' and (deliver_time <= now() or {_SETTLES})",
    "messages": "status not in ('SENT', 'DEAD')",
    "payments": "status = 'pending'",
    "sessions": _IS_HOLD,
    "erased_users": "finish_time is null",
}
MAKE_DUE = {
    "outbox": ("due_time = now(), deliver_time = least(deliver_time, now())", PENDING["outbox"]),
    "messages": ("due_time = now()", "due_time is not null"),
    "sessions": ("expire_time = now()", _IS_HOLD),
    "erased_users": ("erase_time = erase_time - interval '1 minute'", "finish_time is null"),
}
# Mails to erased members are expired. A mail about a free slot is not repeated if its first attempt was interrupted.
DEAD = {"outbox": "status = 'dead'", "messages": "status = 'DEAD' and repeats_in_doubt and not is_expired"}
# In addition to the outbox.
OWN_TABLES = {
    "session": ("sessions", "erased_users"),
    "payment": ("payments",),
    "communication": ("messages",),
}


async def count_problems(mesh: Mesh) -> dict[str, int]:
    """Count pending work, dead letters and broken invariants."""
    problems: dict[str, int] = {}
    async for connection, name, table in _tables(mesh):
        for conditions in (PENDING, DEAD):
            condition = conditions.get(table, "false")
            if number := await _count(connection, table, condition):
                problems[f"{name}.{table} where {condition}"] = number
    for name in SERVICE_NAMES:
        async with connection_to(mesh.database_url_of(name)) as connection:
            for violation in await find_broken_invariants(connection):
                problems[f"{name}.{violation.view} {violation.examples}"] = violation.count
    return problems


async def until_settled(mesh: Mesh, timeout_s: float, *, make_due: bool) -> float:
    """Wait until no work is pending, or for `timeout_s` seconds; return the seconds waited.

    With `make_due`, all scheduled work is made due at once.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while await _count_pending(mesh) and (waited_s := loop.time() - began) < timeout_s:
        if make_due:
            await _make_due(mesh)
        await asyncio.sleep(min(1.0, POLL_S + waited_s / 10))
    return loop.time() - began


async def _count_pending(mesh: Mesh) -> int:
    return sum([await _count(connection, table, PENDING[table]) async for connection, _, table in _tables(mesh)])


async def _make_due(mesh: Mesh) -> None:
    async for connection, _, table in _tables(mesh):
        if table in MAKE_DUE:
            changes, condition = MAKE_DUE[table]
            await connection.execute(f"update {table} set {changes} where {condition}")  # noqa: S608 - constants of this module


async def _count(connection: Connection, table: str, condition: str) -> int:
    return int(await connection.fetchval(f"select count(*) from {table} where {condition}"))  # noqa: S608 - constants of this module


async def _tables(mesh: Mesh) -> AsyncIterator[tuple[Connection, str, str]]:
    """Yield each table that may hold pending work, as connection, service name and table name."""
    for name in SERVICE_NAMES:
        async with connection_to(mesh.database_url_of(name)) as connection:
            for table in ("outbox", *OWN_TABLES.get(name, ())):
                if await connection.fetchval("select to_regclass($1) is not null", table):
                    yield connection, name, table
