"""Worker process that runs random operations on payment's ledger until it is killed.

Session numbers advance with the number of operations, so that several workers ask for the same session within a short
time. The worker's clock advances too, so that granted credits expire while the workers run. The worker sends the number
of finished operations through its pipe, and an unexpected error as its repr.
"""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from contracts.errors import ServiceError
from mesh.data.database import Database
from services.payment.domain import ChargeOrder, PaymentMethod, Price
from tests.services.payment.cashiers import NOON, cashier_of, expire, grant

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

NAMESPACE = UUID("6f1c1f5e-8a50-4c57-9c6e-0a3a0c5b1d11")
USERS = 20
OPERATIONS_PER_REPORT = 10
OPERATION_KINDS = ["grant", "grant", "credits", "credits", "card", "card", "refund", "credit_back", "expire"]
TIME_PER_OPERATION = timedelta(days=1)
LIFETIMES = [None, timedelta(days=10), timedelta(days=40)]


def run(url: str, seed: int, first_operation: int, pipe: Pipe[Any, Any]) -> None:
    """Work on the ledger at `url` until the process is killed."""
    try:
        asyncio.run(_work(url, random.Random(seed), first_operation, pipe))  # noqa: S311 - random operations
    except Exception as error:  # noqa: BLE001 - every error is reported to the test
        pipe.send(repr(error))


async def _work(url: str, rng: random.Random, operation: int, pipe: Pipe[Any, Any]) -> None:
    database = await Database.connect(url, max_connections=2)
    while True:
        for _ in range(OPERATIONS_PER_REPORT):
            try:
                await _ask(database, rng, operation)
            except ServiceError as error:
                if error.code.name == "UNAVAILABLE":
                    raise
            operation += 1
        pipe.send(OPERATIONS_PER_REPORT)


async def _ask(database: Database, rng: random.Random, operation: int) -> object:
    now = NOON + operation * TIME_PER_OPERATION
    cashier = cashier_of(database, lambda: now)
    number = operation * 8 + rng.randrange(64)
    session_id, user_id = uuid5(NAMESPACE, f"session {number}"), uuid5(NAMESPACE, f"user {number % USERS}")
    kind = rng.choice(OPERATION_KINDS)
    match kind:
        case "grant":
            lifetime = rng.choice(LIFETIMES)
            expire_time = now + lifetime if lifetime else None
            return await grant(database, user_id, rng.randrange(1, 10), expire_time, now)
        case "expire":
            return await expire(database, user_id, now)
        case "refund":
            return await cashier.refund(session_id, "session cancelled")
        case "credit_back":
            return await cashier.credit_back(session_id, "gym closed")
        case _:
            token = rng.choice(["tok_visa", "tok_visa", "tok_declined"])
            order = ChargeOrder(session_id, user_id, Price("GBP", 1250, 3), PaymentMethod(kind))
            return await cashier.charge(order, token)
