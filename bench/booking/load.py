"""Closed-loop load: a fixed number of members. Each books an hour, and then the next one."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.common.v1.period_pb2 import Period
from solo60.payment.v1.payment_pb2 import CreditsMethod, PaymentMethod
from solo60.session.v1.session_pb2 import BookSessionRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub

HOUR = timedelta(hours=1)
FIRST_START = (datetime.now(UTC) + timedelta(days=2)).replace(minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Order:
    """One booking: member, gym and the start of the hour. No two orders of a run compete for a slot."""

    user_id: uuid.UUID
    gym_id: uuid.UUID
    start: datetime


class Booker(Protocol):
    """Client that books."""

    async def book(self, order: Order) -> None:
        """Book and pay; return when the booking is confirmed, and raise otherwise."""


class MeshBooker:
    """Client of the mesh: the generated stub with the whole client chain."""

    def __init__(self, sessions: SessionServiceAsyncStub) -> None:
        self._sessions = sessions

    async def book(self, order: Order) -> None:
        """Book over gRPC."""
        period = Period()
        period.start_time.FromDatetime(order.start)
        period.end_time.FromDatetime(order.start + HOUR)
        request = BookSessionRequest(
            user_id=str(order.user_id),
            gym_id=str(order.gym_id),
            period=period,
            payment_method=PaymentMethod(credits=CreditsMethod()),
        )
        await self._sessions.BookSession(request, metadata=((IDEMPOTENCY_KEY, uuid.uuid4().hex),))


class PlainBooker:
    """Client of the plain version. It is as lean as possible, so that it takes no time from the services."""

    def __init__(self, url: str, key: str) -> None:
        self._address = urlsplit(url)
        self._key = key
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def book(self, order: Order) -> None:
        """Book over HTTP/1.1, on a connection of its own."""
        body = json.dumps(
            {
                "user_id": str(order.user_id),
                "gym_id": str(order.gym_id),
                "start": order.start.isoformat(),
                "end": (order.start + HOUR).isoformat(),
            }
        ).encode()
        head = (
            f"POST /sessions HTTP/1.1\r\nhost: {self._address.netloc}\r\nx-api-key: {self._key}\r\n"
            f"idempotency-key: {uuid.uuid4().hex}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        reader, writer = await self._connection()
        writer.write(head.encode() + body)
        status = await reader.readline()
        length = 0
        while line := (await reader.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        answer = await reader.readexactly(length)
        self._idle.append((reader, writer))
        if b" 200 " not in status:
            raise RuntimeError(f"{status.decode().strip()}: {answer.decode()}")

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._idle:
            return self._idle.pop()
        return await asyncio.open_connection(self._address.hostname, self._address.port)


@dataclass(frozen=True, slots=True)
class Timings:
    """Latencies in seconds of all bookings of a window, and the length of the window in seconds."""

    latencies_s: Sequence[float]
    window_s: float

    @property
    def bookings_per_s(self) -> float:
        """Confirmed bookings per second."""
        return len(self.latencies_s) / self.window_s

    @property
    def p50_ms(self) -> float:
        """Median latency in milliseconds."""
        return 1000 * median(self.latencies_s)

    @property
    def p99_ms(self) -> float:
        """Latency in milliseconds that 99 % of the bookings do not exceed."""
        return 1000 * quantiles(self.latencies_s, n=100)[98]


async def run_load(booker: Booker, orders: Sequence[Order], concurrency: int) -> Timings:
    """Make all bookings, `concurrency` at a time; raise if one fails."""
    remaining = iter(orders)
    latencies: list[float] = []

    async def member() -> None:
        for order in remaining:
            began = time.perf_counter()
            await booker.book(order)
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(member())
    return Timings(latencies, time.perf_counter() - began)


def orders_for(user_ids: Sequence[uuid.UUID], gym_ids: Sequence[uuid.UUID], count: int, first: int = 0) -> list[Order]:
    """Return `count` orders from number `first` on, over all gyms in turn."""
    return [
        Order(
            user_ids[number % len(user_ids)],
            gym_ids[number % len(gym_ids)],
            FIRST_START + number // len(gym_ids) * HOUR,
        )
        for number in range(first, first + count)
    ]
