"""Final state of a mesh in its databases and inbox, independent of the answers to clients."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contracts.services import SERVICE_NAMES
from local.mail_sink import read_mails
from mesh.data.integrity import find_broken_invariants
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    import asyncpg

    from local.supervisor import Mesh

    Connection = asyncpg.Connection[asyncpg.Record]

POLL_S = 0.2

# Conditions for pending work, by table. An open offer, and the call that expires it, are not pending. MAKE_DUE sets the
# due times of such work to now, instead of waiting for the lease of a killed process, the pause between two attempts,
# or the expiry of a hold.
PENDING = {
    "outbox": "status = 'pending' and deliver_time <= now()",
    "messages": "status not in ('SENT', 'DEAD')",
    "payments": "status = 'pending'",
    "sessions": "status = 'pending_payment' and offer_id is null",
}
MAKE_DUE = {
    "outbox": "update outbox set due_time = now() where status = 'pending'",
    "messages": "update messages set due_time = now() where due_time is not null",
    "sessions": "update sessions set expire_time = now() where status = 'pending_payment'",
}
DEAD = {"outbox": "status = 'dead'", "messages": "status = 'DEAD'"}
# In addition to the outbox.
OWN_TABLES = {"session": ("sessions",), "payment": ("payments",), "communication": ("messages",)}

_BOOKINGS = """
    select user_id, session_id, status, paid_in, booking_response is not null as was_confirmed, gym_id from sessions
"""
_PAYMENTS = """
    select session_id, user_id, status, method,
        count(*) filter (where kind = 'charge') as charges,
        count(*) filter (where kind in ('refund', 'credit_back')) as returns
    from payments left join transactions using (payment_id) group by payment_id
"""
_CARD_CHARGES = "select idempotency_key, outcome = 'captured' and not returned as is_charged from card_charges"
_CREDITS = """
    select user_id, balance,
        (select count(*) from entries join transactions using (transaction_id)
         where entries.account_id = accounts.account_id and transactions.kind = 'grant') as grants
    from accounts where kind = 'member'
"""
_SUMS = "select currency, sum(amount) as excess from entries group by currency having sum(amount) <> 0"


@dataclass(frozen=True, slots=True)
class Booking:
    """Session in the session service's database. `was_confirmed` stays true after a cancellation."""

    session_id: UUID
    status: str
    was_confirmed: bool

    @property
    def is_active(self) -> bool:
        """Whether the booking is confirmed and not cancelled, so that the member must have paid."""
        return self.was_confirmed and self.status != "cancelled"


@dataclass(frozen=True, slots=True)
class Payment:
    """Payment in the ledger, with its numbers of charges and returns."""

    user_id: UUID
    status: str
    method: str
    charges: int
    returns: int


@dataclass(frozen=True, slots=True)
class Credits:
    """Balance and number of grants of a member's credits in the ledger."""

    balance: int
    grants: int


@dataclass(slots=True)
class FinalState:
    """State of all databases and the inbox. `problems` counts faults and pending work; it must be empty."""

    bookings: dict[UUID, list[Booking]] = field(default_factory=lambda: defaultdict(list))
    payments: dict[UUID, Payment] = field(default_factory=dict)
    cards_charged: dict[str, bool] = field(default_factory=dict)
    credits: dict[UUID, Credits] = field(default_factory=dict)
    mails: Counter[tuple[str, str]] = field(default_factory=Counter)
    mail_copies: int = 0
    problems: dict[str, int] = field(default_factory=dict)


async def read_final_state(mesh: Mesh) -> FinalState:
    """Read all databases and the inbox."""
    state = FinalState()
    await _count_problems(mesh, state)
    async with connection_to(mesh.database_url_of("session")) as session:
        for row in await session.fetch(_BOOKINGS):
            booking = Booking(row["session_id"], row["status"], row["was_confirmed"])
            state.bookings[row["user_id"]].append(booking)
    async with connection_to(mesh.database_url_of("payment")) as payment:
        for row in await payment.fetch(_PAYMENTS):
            state.payments[row["session_id"]] = Payment(
                row["user_id"], row["status"], row["method"], row["charges"], row["returns"]
            )
        state.cards_charged = {row[0]: row[1] for row in await payment.fetch(_CARD_CHARGES)}
        state.credits = {
            row["user_id"]: Credits(row["balance"], row["grants"]) for row in await payment.fetch(_CREDITS)
        }
        state.problems |= {f"sum of {row['currency']}": int(row["excess"]) for row in await payment.fetch(_SUMS)}
    _read_mails(mesh.settings.inbox_folder, state)
    return state


def _read_mails(folder: Path, state: FinalState) -> None:
    """Count mails by recipient and kind. Mails with the same Message-ID count once, as mail readers show them once."""
    seen = set()
    for mail in read_mails(folder):
        if mail.message_id in seen:
            state.mail_copies += 1
            continue
        seen.add(mail.message_id)
        state.mails[mail.recipient, mail.subject.partition(":")[0]] += 1


async def _count_problems(mesh: Mesh, state: FinalState) -> None:
    async for connection, name, table in _tables(mesh):
        for conditions in (PENDING, DEAD):
            condition = conditions.get(table, "false")
            if number := await _count(connection, table, condition):
                state.problems[f"{name}.{table} where {condition}"] = number
    for name in SERVICE_NAMES:
        async with connection_to(mesh.database_url_of(name)) as connection:
            for violation in await find_broken_invariants(connection):
                state.problems[f"{name}.{violation.view} {violation.examples}"] = violation.count


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
            await connection.execute(MAKE_DUE[table])


async def _count(connection: Connection, table: str, condition: str) -> int:
    return int(await connection.fetchval(f"select count(*) from {table} where {condition}"))  # noqa: S608 - constants of this module


async def _tables(mesh: Mesh) -> AsyncIterator[tuple[Connection, str, str]]:
    """Yield each table that may hold pending work, as connection, service name and table name."""
    for name in SERVICE_NAMES:
        async with connection_to(mesh.database_url_of(name)) as connection:
            for table in ("outbox", *OWN_TABLES.get(name, ())):
                if await connection.fetchval("select to_regclass($1) is not null", table):
                    yield connection, name, table
