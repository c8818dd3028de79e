from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import grpc.aio
import psutil
import pytest

from contracts.method import Method, methods_of
from contracts.services import SERVICES
from local.keys import OPERATOR
from tests.attack.fuzz import ALLOWED_CODES, FOREIGN_TEXT, MAX_MESSAGE_BYTES, Request, requests
from tests.attack.target import ECHO_SERVICE, Target
from tests.support.local_mesh import process_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

SHORT, LONG = 1_000, 10_000
CONCURRENT_CALLS = 8
MEBIBYTE = 1024 * 1024
# Concurrent requests of several MiB leave this much with the allocator. Only the long test can detect a leak.
MAX_GROWTH_BYTES = {SHORT: 256 * MEBIBYTE, SHORT // 2: 256 * MEBIBYTE, LONG: 64 * MEBIBYTE}
# grpc.aio's client reports this if the server ends a call during a write.
FAILED_WRITE = "Internal error from Core"
SHAPES = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


class Outcomes:
    """Status codes of one run's calls, and descriptions of forbidden answers."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.faults: list[str] = []

    def add(self, request: Request, code: grpc.StatusCode, message: str) -> None:
        """Record the outcome of one call."""
        self.codes[code.name] += 1
        if code not in ALLOWED_CODES or FOREIGN_TEXT.search(message) or len(message.encode()) > MAX_MESSAGE_BYTES:
            self.faults.append(
                f"{request.path} {code.name} {message!r} for {request.message[:80]!r} {request.metadata}"
            )


async def send(channel: grpc.aio.Channel, request: Request, method: Method | None, outcomes: Outcomes) -> None:
    """Call a method with raw bytes, unary or streaming like the method, and record the outcome."""
    shape = (method.request_streaming, method.response_streaming) if method else (False, False)
    call: Any = getattr(channel, SHAPES[shape])(request.path)
    content = iter([request.message] * 2) if shape[0] else request.message
    try:
        answer = call(content, metadata=request.metadata, timeout=request.timeout_s)
        if shape[1]:
            async for _ in answer:
                pass
        else:
            await answer
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # always within a task
            raise
        outcomes.add(request, grpc.StatusCode.CANCELLED, "")
    except grpc.aio.AioRpcError as error:
        if shape[0] and error.details() == FAILED_WRITE:
            return
        outcomes.add(request, error.code(), error.details() or "")
    else:
        outcomes.add(request, grpc.StatusCode.OK, "")


async def send_all(addresses: dict[str, str], to_send: list[Request], methods: dict[str, Method]) -> Outcomes:
    """Send every request to the address of its service, at most CONCURRENT_CALLS at a time."""
    outcomes = Outcomes()
    turns = asyncio.Semaphore(CONCURRENT_CALLS)
    channels = {name: grpc.aio.insecure_channel(address) for name, address in addresses.items()}
    some = next(iter(channels.values()))

    async def take_turn(request: Request) -> None:
        async with turns:
            service = request.path.strip("/").partition("/")[0]
            await send(channels.get(service, some), request, methods.get(request.path), outcomes)

    await asyncio.gather(*map(take_turn, to_send))
    for channel in channels.values():
        await channel.close()
    return outcomes


@pytest.fixture(scope="module")
def seed() -> int:
    """Choose a seed and print it, so that a failure can be repeated."""
    seed = time.time_ns() % 2**32
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    return seed


def seeded(seed: int) -> Random:
    """Return a random generator with this seed."""
    return Random(seed)  # noqa: S311 - not for secrets


def malformed_lines(log: Path) -> list[str]:
    """Return the lines of a log that are not a JSON object with a "service" field."""
    return [line for line in log.read_text("utf-8").splitlines() if not _is_whole(line)]


def _is_whole(line: str) -> bool:
    try:
        return "service" in json.loads(line)
    except (ValueError, TypeError):
        return False


async def fuzz_mesh(mesh: LocalMesh, seed: int, number: int) -> None:
    """Send `number` requests to the services; assert allowed answers, bounded memory and well-formed logs."""
    methods = {method.path: method for service in SERVICES.values() for method in methods_of(service)}
    addresses = {service.full_name: mesh.settings.url_of(name) for name, service in SERVICES.items()}
    key = mesh.settings.key_path_of(OPERATOR).read_text().strip()
    services = [process_of(mesh, name) for name in SERVICES]
    await send_all(addresses, requests(seeded(seed), key, 200), methods)  # warms up
    memory_bytes = {each.pid: each.memory_info().rss for each in services}

    outcomes = await send_all(addresses, requests(seeded(seed + 1), key, number), methods)

    assert outcomes.faults == []
    assert outcomes.codes["INVALID_ARGUMENT"] > number / 10
    grown = {pid: psutil.Process(pid).memory_info().rss - before for pid, before in memory_bytes.items()}
    assert max(grown.values()) <= MAX_GROWTH_BYTES[number]
    for log in mesh.settings.log_folder.glob("*.jsonl"):
        assert malformed_lines(log) == []
        assert "internal error" not in log.read_text()


async def test_services_withstand_hostile_requests(attacked_mesh: LocalMesh, seed: int) -> None:
    """1,000 hostile requests get only allowed codes and short, harmless texts, and every log line is well-formed."""
    await fuzz_mesh(attacked_mesh, seed, SHORT)


@pytest.mark.soak
async def test_services_withstand_very_many_hostile_requests(attacked_mesh: LocalMesh, seed: int) -> None:
    """10,000 hostile requests, over 200 for each method, get only allowed answers and do not leak memory."""
    await fuzz_mesh(attacked_mesh, seed, LONG)


async def fuzz_echo(folder: Path, seed: int, number: int, engine: str) -> None:
    """Send `number` requests to the echo service, which has unary and streaming methods; assert allowed answers."""
    methods = {method.path: method for method in methods_of(ECHO_SERVICE)}
    with Target.started(folder, engine=engine, log_requests=True) as target:
        addresses = {ECHO_SERVICE.full_name: target.address}
        to_send = requests(seeded(seed), target.key, number, list(methods.values()))

        outcomes = await send_all(addresses, to_send, methods)

        assert target.is_alive
        assert outcomes.faults == []
        assert malformed_lines(target.log) == []
        assert target.state().running_handlers == 0


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_streams_withstand_hostile_requests(tmp_path: Path, seed: int, engine: str) -> None:
    """500 hostile requests to unary and streaming methods get only allowed answers on both engines."""
    await fuzz_echo(tmp_path, seed, SHORT // 2, engine)


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_streams_withstand_very_many_hostile_requests(tmp_path: Path, seed: int, engine: str) -> None:
    """10,000 hostile requests to unary and streaming methods get only allowed answers on both engines."""
    await fuzz_echo(tmp_path, seed, LONG, engine)
