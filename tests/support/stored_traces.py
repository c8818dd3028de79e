"""Made-up traces in the form of the local span store."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson

from mesh.telemetry.spans import StoredSpan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

MS = 1_000_000
BOOKING = (
    ("session", "solo60.session.v1.SessionService/BookSession"),
    ("user", "solo60.user.v1.UserService/GetUser"),
    ("gym", "solo60.gym.v1.GymService/QuotePrice"),
    ("payment", "solo60.payment.v1.PaymentService/Charge"),
    ("communication", "solo60.communication.v1.CommunicationService/SendEmailAsync"),
)


def chain(
    number: int, hops: Sequence[tuple[str, str]] = BOOKING, *, start_ns: int, error: str | None = None, ms: int = 100
) -> Iterator[StoredSpan]:
    """Yield the spans of trace `number`: a root and one call below another, which took `ms`, the last with `error`."""
    rng = random.Random(number)  # noqa: S311 - no secret
    trace_id, correlation_id = f"{rng.getrandbits(128):032x}", f"{rng.getrandbits(128):032x}"
    parent, caller, end_ns = f"{rng.getrandbits(64):016x}", "operator", start_ns + ms * MS
    yield StoredSpan(trace_id, parent, None, "solo60", "call", "INTERNAL", start_ns, end_ns, None)
    service = "solo60"
    for depth, (callee, method) in enumerate(hops, 1):
        failure = error if depth == len(hops) else None
        client, server = f"{rng.getrandbits(64):016x}", f"{rng.getrandbits(64):016x}"
        sent_ns, served_ns = start_ns + depth * 3 * MS, start_ns + depth * 3 * MS + MS
        attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": method,
            "rpc.status_code": "NOT_FOUND" if failure else "OK",
            "network.peer.address": "127.0.0.1",
            "network.peer.port": 40_000 + number % 20_000,
        }
        yield StoredSpan(
            trace_id,
            client,
            parent,
            service,
            method,
            "CLIENT",
            sent_ns,
            end_ns - depth * MS,
            failure,
            "",
            "",
            attributes,
        )
        attributes = {**attributes, "user_agent.original": "grpc-python-asyncio/1.80.0 grpc-c/52.0.0 (linux; chttp2)"}
        yield StoredSpan(
            trace_id,
            server,
            client,
            callee,
            method,
            "SERVER",
            served_ns,
            end_ns - depth * MS - MS // 2,
            failure,
            correlation_id,
            caller,
            attributes,
        )
        parent, service, caller = server, callee, callee


def write_spans(folder: Path, spans: Iterable[StoredSpan]) -> None:
    """Append spans to the files of their services."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[bytes]] = {}
    for span in spans:
        lines.setdefault(span.service, []).append(orjson.dumps(span) + b"\n")
    for service, each in lines.items():
        with (folder / f"{service}.jsonl").open("ab") as file:
            file.writelines(each)


def write_many(folder: Path, number: int, end_ns: int) -> None:
    """Write `number` traces, one every 100 ms until `end_ns`. Every tenth one fails, and every fourth takes 400 ms."""
    write_spans(
        folder,
        (
            span
            for index in range(number)
            for span in chain(
                index,
                BOOKING[: 1 + index % len(BOOKING)],
                start_ns=end_ns - (number - index) * 100 * MS,
                error="There is no gym with this id." if index % 10 == 0 else None,
                ms=400 if index % 4 == 0 else 100,
            )
        ),
    )
