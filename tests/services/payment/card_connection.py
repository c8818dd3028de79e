"""Connection to the card company on which a test delays or loses calls."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import Unavailable
from services.payment.cards import CardOutcome, TestModeProcessor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mesh.data.database import Database
    from services.payment.domain import Price


async def let_pass() -> None:
    """Let the call pass."""


async def lose_the_call() -> None:
    """Break the connection to the card company."""
    raise Unavailable


class Gate:
    """Barrier that blocks calls until it is opened, and sets `reached` at the first call."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self) -> None:
        """Wait until the gate is open."""
        self.reached.set()
        await self.opened.wait()


@dataclass(slots=True)
class ConnectionHooks:
    """Hooks of the connection to the card company, run before and after the company handles a call."""

    before_charge: Callable[[], Awaitable[None]] = let_pass
    after_charge: Callable[[], Awaitable[None]] = let_pass
    before_refund: Callable[[], Awaitable[None]] = let_pass
    after_refund: Callable[[], Awaitable[None]] = let_pass


class FaultyCardProcessor(TestModeProcessor):
    """Card company behind a connection that delays or loses calls and answers."""

    def __init__(self, database: Database, hooks: ConnectionHooks) -> None:
        super().__init__(database)
        self._hooks = hooks

    async def charge(self, key: str, card_token: str, price: Price) -> CardOutcome:
        await self._hooks.before_charge()
        outcome = await super().charge(key, card_token, price)
        await self._hooks.after_charge()
        return outcome

    async def refund(self, key: str) -> bool:
        await self._hooks.before_refund()
        was_captured = await super().refund(key)
        await self._hooks.after_refund()
        return was_captured
