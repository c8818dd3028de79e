"""Time limits of statements and lock waits in a database session."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    AnyConnection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

# A limit from an earlier call stays in use if it leaves a call at least this share of its remaining time.
MIN_SHARE_OF_TIME = 0.75


def limits_ms(remaining_s: float | None) -> tuple[int, int]:
    """Return the timeouts of statements and locks in milliseconds; 0 is no limit."""
    if remaining_s is None:
        return 0, 0
    # 0 would mean no limit, so both values must be at least 1.
    statement_ms = max(2, int(remaining_s * 1000))
    return statement_ms, statement_ms // 2


class SessionTimeouts:
    """Statement timeout of each session in milliseconds, by the process id of its server. 0 is no limit."""

    def __init__(self) -> None:
        self._by_pid: dict[int, int] = {}

    async def record_new(self, connection: AnyConnection) -> None:
        """Record that a new session has no limit. Its process id may be that of an earlier session."""
        self.record(connection, 0)

    def record(self, connection: AnyConnection, timeout_ms: int) -> None:
        """Record the timeout of a session."""
        self._by_pid[connection.get_server_pid()] = timeout_ms

    def forget(self, connection: AnyConnection) -> None:
        """Forget the timeout of a session before it is changed, because the change may be interrupted."""
        self._by_pid.pop(connection.get_server_pid(), None)

    def fit(self, connection: AnyConnection, wanted_ms: int) -> bool:
        """Return whether the session has the wanted timeout, or a little less."""
        current_ms = self._by_pid.get(connection.get_server_pid())
        if not current_ms or not wanted_ms:
            return current_ms == wanted_ms
        return MIN_SHARE_OF_TIME * wanted_ms <= current_ms <= wanted_ms
