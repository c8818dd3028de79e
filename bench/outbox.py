"""Outbox benchmark: messages per second, compared with Procrastinate's tasks on the same PostgreSQL.

Run `python -m bench.outbox`; --quick takes less time. Our messages are delivered over gRPC, through both whole chains,
to a server in another process. Procrastinate's tasks do nothing, in the worker's own process. Both write each message
in a transaction of its own, and have one relay or worker with 32 messages in flight. Writes build/outbox.json and,
after a full run, the outbox section of docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import re
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import procrastinate
from prometheus_client import CollectorRegistry

from bench.client import chain_channel
from bench.page import fill_section, markdown_table
from bench.rows import our_row
from bench.server_process import started
from bench.workspace import FOLDER, prepare
from local.postgres.server import EmbeddedPostgres
from mesh.data.database import Database
from mesh.data.migrations import MESH_MIGRATIONS, migrate
from mesh.outbox.metrics import OutboxMetrics
from mesh.outbox.relay import CONCURRENCY, Relay
from mesh.outbox.store import CLAIM, OutboxStore, claim_values
from mesh.outbox.transport import DirectTransport
from mesh.serving.event_loop import service_loop
from mesh.transaction import Transaction
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.folders import folder_for_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    import grpc.aio

FIGURES = Path("build/outbox.json")
PAGE = Path("docs/performance.md")
WRITERS = 8
ROWS_DELIVERED = (1_000, 10_000, 100_000, 1_000_000)
POLL_S = 0.02

FILL = """
    insert into outbox (message_id, destination, payload, correlation_id, traceparent, status, due_time, settle_time)
    select gen_random_uuid(), 'solo60.example.v1.EchoService/Echo', '\\x0a02', 'bench', '', 'delivered', null, now()
    from generate_series(1, $1)
"""

SCAN = re.compile(r"(?:Scan using |(?=Seq Scan))(\w+(?: Scan on \w+)?)")

# At its default level, Procrastinate logs three lines per task.
logging.getLogger("procrastinate").setLevel(logging.WARNING)
app = procrastinate.App(connector=procrastinate.PsycopgConnector())


async def no_op() -> None:
    """Do nothing."""


deferred_no_op = app.task(no_op)


@dataclass(frozen=True, slots=True)
class Speed:
    """Messages per second: written, delivered from a filled queue, and both at the same time."""

    written: float
    delivered: float
    end_to_end: float


@dataclass(frozen=True, slots=True)
class FillLevel:
    """Delivery with `rows` delivered rows in the table: messages per second, cost of a claim, and indexes used."""

    rows: int
    delivered: float
    claim_ms: float
    plan: str


class Outbox:
    """Our outbox in a database, with an echo server as its destination."""

    def __init__(self, database: Database, channel: grpc.aio.Channel) -> None:
        self._database = database
        self._store = OutboxStore(database)
        self._channel = channel
        self._echo = EchoServiceStub(channel).Echo

    async def write(self) -> None:
        async with Transaction.begin(self._database) as tx:
            await tx.call_later(self._echo, EchoRequest(text="hello"))

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        metrics = OutboxMetrics(CollectorRegistry())
        relay = Relay(self._store, DirectTransport(lambda _service: self._channel), metrics, random.SystemRandom())
        async with relay.running():
            yield

    async def remaining(self) -> int:
        async with self._database.connection() as connection:
            return int(await connection.fetchval("select count(*) from outbox where status = 'pending'"))

    async def measure_filled(self, rows: int, messages: int) -> FillLevel:
        """Fill the table with delivered rows up to `rows`, and measure."""
        async with self._database.connection() as connection:
            existing = await connection.fetchval("select count(*) from outbox")
            await connection.execute(FILL, max(0, rows - existing))
            await connection.execute("vacuum analyze outbox")
            values = claim_values(CONCURRENCY, timedelta())
            lines = await connection.fetch("explain " + CLAIM, *values)
            claims_ms = [await _timed_ms(lambda: connection.fetch(CLAIM, *values)) for _ in range(50)]
        indexes = sorted({match[1] for line in lines if (match := SCAN.search(line[0]))})
        await _write(self.write, messages)
        began = time.perf_counter()
        await _deliver(self)
        return FillLevel(rows, messages / (time.perf_counter() - began), median(claims_ms), ", ".join(indexes))


class Procrastinate:
    """Procrastinate's jobs in a database of their own."""

    async def write(self) -> None:
        await deferred_no_op.defer_async()

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False, wait=True, delete_jobs="never")
        )
        try:
            yield
        finally:
            worker.cancel()
            await asyncio.wait([worker])

    async def remaining(self) -> int:
        row = await app.connector.execute_query_one_async(
            "select count(*) as remaining from procrastinate_jobs where status in ('todo', 'doing')"
        )
        return int(row["remaining"])


async def speed_of(queue: Outbox | Procrastinate, messages: int) -> Speed:
    """Measure one of the two queues."""
    began = time.perf_counter()
    await _write(queue.write, messages)
    written = messages / (time.perf_counter() - began)
    began = time.perf_counter()
    await _deliver(queue)
    delivered = messages / (time.perf_counter() - began)
    began = time.perf_counter()
    async with queue.delivering():
        await _write(queue.write, messages)
        await _until_empty(queue)
    return Speed(written, delivered, messages / (time.perf_counter() - began))


async def _write(write: Callable[[], Coroutine[None, None, None]], messages: int) -> None:
    async def write_some() -> None:
        for _ in range(messages // WRITERS):
            await write()

    await asyncio.gather(*[write_some() for _ in range(WRITERS)])


async def _deliver(queue: Outbox | Procrastinate) -> None:
    async with queue.delivering():
        await _until_empty(queue)


async def _until_empty(queue: Outbox | Procrastinate) -> None:
    while await queue.remaining():  # noqa: ASYNC110 - the database signals no event for an empty queue
        await asyncio.sleep(POLL_S)


async def _timed_ms(work: Callable[[], Coroutine[None, None, object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


async def measure(port: int, messages: int, rounds: int, fill: tuple[int, ...]) -> dict[str, Any]:
    """Measure both queues in turn, then our outbox with each number of rows in `fill`."""
    samples: dict[str, list[Speed]] = {"outbox": [], "procrastinate": []}
    with folder_for_all() as folder:
        async with (
            EmbeddedPostgres(folder / "data") as postgres,
            _outbox_on(postgres.url, port) as outbox,
            _procrastinate_on(postgres.url) as other,
        ):
            await speed_of(outbox, WRITERS)
            await speed_of(other, WRITERS)
            for _ in range(rounds):
                samples["outbox"].append(await speed_of(outbox, messages))
                samples["procrastinate"].append(await speed_of(other, messages))
            filled = [asdict(await outbox.measure_filled(rows, messages)) for rows in fill]
    figures = {name: _medians(speeds) for name, speeds in samples.items()}
    ratio = figures["outbox"]["delivered"] / figures["procrastinate"]["delivered"]
    return {"speeds": figures, "delivered_ratio": ratio, "fill_levels": filled, "messages": messages}


def _medians(speeds: list[Speed]) -> dict[str, float]:
    return {
        field: median(getattr(speed, field) for speed in speeds) for field in ("written", "delivered", "end_to_end")
    }


@asynccontextmanager
async def _outbox_on(url: str, port: int) -> AsyncIterator[Outbox]:
    await migrate(url, MESH_MIGRATIONS)
    database = await Database.connect(url)
    async with chain_channel(f"127.0.0.1:{port}") as channel:
        yield Outbox(database, channel)
    await database.close()


@asynccontextmanager
async def _procrastinate_on(url: str) -> AsyncIterator[Procrastinate]:
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=10)
    with app.replace_connector(connector) as connected:
        async with connected.open_async():
            await connected.schema_manager.apply_schema_async()
            yield Procrastinate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.outbox")
    parser.add_argument("--quick", action="store_true", help="take less time, with less exact figures")
    quick = parser.parse_args().quick
    prepare()
    FOLDER.mkdir(parents=True, exist_ok=True)
    messages, rounds, fill = (1_000, 1, ROWS_DELIVERED[:3]) if quick else (3_000, 3, ROWS_DELIVERED)
    with started(our_row("grpcio", 10)) as server, service_loop() as runner:
        server.wait_until_listening()
        figures = runner.run(measure(server.port, messages, rounds, fill))
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    text = markdown_of(figures)
    print(text)
    if not quick:
        fill_section(PAGE, "outbox", text)


def markdown_of(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown for docs/performance.md."""
    speeds: dict[str, dict[str, float]] = figures["speeds"]
    fill_levels: list[dict[str, float | str]] = figures["fill_levels"]
    labels = {"outbox": "our outbox, over gRPC", "procrastinate": "Procrastinate, tasks that do nothing"}
    rows = [
        (labels[name], *(f"{each[field]:,.0f}" for field in ("written", "delivered", "end_to_end")))
        for name, each in speeds.items()
    ]
    table = markdown_table(("messages per second", "written", "delivered", "both at once"), rows)
    ratio = f"Delivered, ours to Procrastinate's: {figures['delivered_ratio']:.2f}."
    full = markdown_table(
        ("rows in the table", "delivered per second", "claim, ms", "found by"),
        [
            (f"{each['rows']:,}", f"{each['delivered']:,.0f}", f"{each['claim_ms']:.2f}", str(each["plan"]))
            for each in fill_levels
        ],
    )
    return f"{table}\n\n{ratio}\n\n{full}"


if __name__ == "__main__":
    main()
