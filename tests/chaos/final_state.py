"""Final state of a mesh in its databases and inbox, independent of the answers to clients."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contracts.services import SERVICE_NAMES
from local.mail_sink import read_mails
from tests.chaos.settling import count_problems
from tests.chaos.subjects import kind_of
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    import asyncpg

    from local.supervisor import Mesh
    from tests.chaos.subjects import MailKind

    Connection = asyncpg.Connection[asyncpg.Record]

_BOOKINGS = """
    select user_id, session_id, status, moves, booking_response is not null as was_confirmed,
        (select count(*) from guests where guests.session_id = sessions.session_id) as guests
    from sessions
"""
_OFFERS = "select user_id, count(*) from offers join waiting_list using (entry_id) group by user_id"
_PAYMENTS = """
    select session_id, user_id, status, method,
        count(*) filter (where kind = 'charge') as charges,
        count(*) filter (where kind in ('refund', 'credit_back')) as returns
    from payments left join transactions using (payment_id) group by payment_id
"""
_CARD_CHARGES = "select idempotency_key, outcome = 'captured' and not returned as is_charged from card_charges"
_CREDITS = """
    select user_id, balance, count(transaction_id) filter (where subscription_id is null) as grants,
        count(transaction_id) filter (where subscription_id is not null) as periods
    from accounts left join (
        select account_id, transaction_id, subscription_id
        from entries join transactions using (transaction_id) where transactions.kind = 'grant'
    ) as granted using (account_id)
    where kind = 'member' group by account_id
"""
_SUMS = "select currency, sum(amount) as excess from entries group by currency having sum(amount) <> 0"
_SUBSCRIPTIONS = "select user_id, cancel_time, end_time, now() as now from subscriptions"
_USERS = "select user_id, email, email_confirmed, state from users"
_TABLES = "select tablename from pg_tables where schemaname = 'public'"
# Addresses of members and their guests, as text and in the hexadecimal form of binary columns.
_ADDRESS = re.compile(r"(?:member|guest)-\d+@solo60\.example")
_HEX_ADDRESS = re.compile(r"(?:6d656d626572|6775657374)2d(?:3\d)+40736f6c6f36302e6578616d706c65")
_ROWS_WITH_ADDRESS = "select row::text as row from {table} as row where row::text ~ '@solo60|40736f6c6f3630'"


@dataclass(frozen=True, slots=True)
class Booking:
    """Session in the session service's database. `was_confirmed` stays true after a cancellation."""

    session_id: UUID
    status: str
    was_confirmed: bool
    moves: int
    guests: int

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
    """Balance of a member's credits in the ledger, and the numbers of grants and of granted subscription periods."""

    balance: int
    grants: int
    periods: int


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """Subscription in the subscription service's database."""

    is_cancelled: bool
    is_over: bool


@dataclass(frozen=True, slots=True)
class StoredUser:
    """User in the user service's database, with the number of passwords in the auth service's database."""

    email: str
    email_confirmed: bool
    is_deleted: bool
    passwords: int


@dataclass(slots=True)
class FinalState:
    """State of all databases and the inbox. `problems` counts faults and pending work; it must be empty."""

    bookings: dict[UUID, list[Booking]] = field(default_factory=lambda: defaultdict(list))
    offers: dict[UUID, int] = field(default_factory=dict)
    payments: dict[UUID, Payment] = field(default_factory=dict)
    cards_charged: dict[str, bool] = field(default_factory=dict)
    credits: dict[UUID, Credits] = field(default_factory=dict)
    subscriptions: dict[UUID, list[StoredSubscription]] = field(default_factory=lambda: defaultdict(list))
    users: dict[UUID, StoredUser] = field(default_factory=dict)
    stored_addresses: set[str] = field(default_factory=set)
    mails: Counter[tuple[str, MailKind | str]] = field(default_factory=Counter)
    mail_copies: int = 0
    problems: dict[str, int] = field(default_factory=dict)


async def read_final_state(mesh: Mesh) -> FinalState:
    """Read all databases and the inbox."""
    state = FinalState(problems=await count_problems(mesh))
    async with connection_to(mesh.database_url_of("session")) as session:
        for row in await session.fetch(_BOOKINGS):
            booking = Booking(row["session_id"], row["status"], row["was_confirmed"], row["moves"], row["guests"])
            state.bookings[row["user_id"]].append(booking)
        state.offers = {row["user_id"]: row["count"] for row in await session.fetch(_OFFERS)}
    async with connection_to(mesh.database_url_of("payment")) as payment:
        await _read_ledger(payment, state)
    async with connection_to(mesh.database_url_of("subscription")) as subscription:
        for row in await subscription.fetch(_SUBSCRIPTIONS):
            is_over = row["end_time"] is not None and row["end_time"] <= row["now"]
            state.subscriptions[row["user_id"]].append(StoredSubscription(row["cancel_time"] is not None, is_over))
    await _read_users(mesh, state)
    await _read_addresses(mesh, state)
    _read_mails(mesh.settings.inbox_folder, state)
    return state


async def _read_ledger(payment: Connection, state: FinalState) -> None:
    for row in await payment.fetch(_PAYMENTS):
        state.payments[row["session_id"]] = Payment(
            row["user_id"], row["status"], row["method"], row["charges"], row["returns"]
        )
    state.cards_charged = {row[0]: row[1] for row in await payment.fetch(_CARD_CHARGES)}
    state.credits = {
        row["user_id"]: Credits(row["balance"], row["grants"], row["periods"]) for row in await payment.fetch(_CREDITS)
    }
    state.problems |= {f"sum of {row['currency']}": int(row["excess"]) for row in await payment.fetch(_SUMS)}


async def _read_users(mesh: Mesh, state: FinalState) -> None:
    async with connection_to(mesh.database_url_of("auth")) as auth:
        passwords = Counter(row["user_id"] for row in await auth.fetch("select user_id from passwords"))
    async with connection_to(mesh.database_url_of("user")) as user:
        for row in await user.fetch(_USERS):
            user_id, is_deleted = row["user_id"], row["state"] == "USER_STATE_DELETED"
            state.users[user_id] = StoredUser(row["email"], row["email_confirmed"], is_deleted, passwords[user_id])


async def _read_addresses(mesh: Mesh, state: FinalState) -> None:
    """Find the addresses in all tables. Only those of members who have not left may be there."""
    for name in SERVICE_NAMES:
        async with connection_to(mesh.database_url_of(name)) as connection:
            for (table,) in await connection.fetch(_TABLES):
                for (row,) in await connection.fetch(_ROWS_WITH_ADDRESS.format(table=table)):
                    hexadecimal = _HEX_ADDRESS.findall(row)
                    state.stored_addresses |= {
                        *_ADDRESS.findall(row),
                        *(bytes.fromhex(a).decode() for a in hexadecimal),
                    }


def _read_mails(folder: Path, state: FinalState) -> None:
    """Count mails by recipient and kind. Mails with the same Message-ID count once, as mail readers show them once."""
    seen = set()
    for mail in read_mails(folder):
        if mail.message_id in seen:
            state.mail_copies += 1
            continue
        seen.add(mail.message_id)
        state.mails[mail.recipient, kind_of(mail.subject) or mail.subject] += 1
