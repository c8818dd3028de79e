"""All stores of the auth service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from mesh.transaction import Transaction
from services.auth.attempts.store import AttemptStore
from services.auth.codes.store import CodeStore
from services.auth.log_ins.store import LogInStore
from services.auth.mails.outbox import MailOutbox
from services.auth.passwords.store import PasswordStore

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from mesh.data.database import Database
    from solo60.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores of one database, one per part of the service."""

    database: Database
    passwords: PasswordStore
    attempts: AttemptStore
    log_ins: LogInStore
    codes: CodeStore
    mails: MailOutbox

    @classmethod
    def on(cls, database: Database, auth: AuthServiceAsyncStub) -> Self:
        """Create the stores of a database. The stub is the destination of pending mails in the outbox."""
        return cls(
            database,
            PasswordStore(database),
            AttemptStore(database),
            LogInStore(database),
            CodeStore(database),
            MailOutbox(auth),
        )

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction, committed at the end of the block."""
        return Transaction.begin(self.database)

    async def tidy(self, now: datetime) -> None:
        """Delete the log-ins, tokens, codes and failed attempts that have expired at `now`."""
        await self.log_ins.delete_old(now)
        await self.codes.delete_expired(now)
        await self.attempts.delete_old(now)
