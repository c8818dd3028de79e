from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from contracts.errors import Cancelled, DeadlineExceeded, InvalidRequest
from solo60.example.v1 import echo_pb2 as pb
from tests.attack.target import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub

pytestmark = pytest.mark.system

ENGINES = ("grpcio", "native")
CALLERS = 8
SHORT_S = 3.0
WARM_UP_RATIO = 0.3
PAUSE_S = 0.05
# Fluctuation of the allocator without a leak.
NOISE_BYTES = 8 * 1024 * 1024
SPARE_FILES = 5
SPARE_TASKS = 10
# The client's health watch stays open, and the last error may not be collected yet.
MAX_CALLS = 2
MEBIBYTE = 1024 * 1024
MINUTE_S = 60.0


async def _texts() -> AsyncIterator[pb.EchoJoinedRequest]:
    for _ in range(5):
        yield pb.EchoJoinedRequest(text="hi")


async def _each() -> AsyncIterator[pb.EchoEachRequest]:
    for _ in range(5):
        yield pb.EchoEachRequest(text="hi")


async def make_mixed_calls(stub: EchoServiceAsyncStub, done: Counter[str]) -> None:
    """Make five successful calls, one with an invalid request, and two that end early."""
    await stub.Echo(pb.EchoRequest(text="hi", email="ada@example.org"))
    assert len([answer async for answer in stub.EchoMany(pb.EchoManyRequest(text="hi", repeat=5))]) == 5
    assert (await stub.EchoJoined(_texts())).text == "hi hi hi hi hi"
    assert len([answer async for answer in stub.EchoEach(_each())]) == 5
    await stub.Keep(pb.KeepRequest(text="hi"))
    with pytest.raises(InvalidRequest):
        await stub.Echo(pb.EchoRequest())
    with pytest.raises(DeadlineExceeded):
        async for _ in stub.EchoMany(pb.EchoManyRequest(text="hi", repeat=1000), timeout=0.02):
            pass
    cancelled = asyncio.create_task(_await_echo(stub))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    done["calls"] += 8


async def _await_echo(stub: EchoServiceAsyncStub) -> None:
    try:
        await stub.Echo(pb.EchoRequest(text="hi"))
    except Cancelled as error:
        raise asyncio.CancelledError from error


async def soak(folder: Path, engine: str, lasts_s: float) -> str:
    """Call for `lasts_s` seconds; assert that the target's resources do not grow after the warm-up; return a report."""
    done: Counter[str] = Counter()
    with Target.started(folder, engine=engine, log_level="warning") as target:
        async with target.stub() as stub:
            until = time.monotonic() + lasts_s

            async def call_on() -> None:
                while time.monotonic() < until:
                    await make_mixed_calls(stub, done)

            callers = [asyncio.create_task(call_on()) for _ in range(CALLERS)]
            await asyncio.sleep(lasts_s * WARM_UP_RATIO)
            warm_bytes, warm_files, warm = target.memory_bytes, target.files, await asyncio.to_thread(target.state)
            await asyncio.gather(*callers)
            await asyncio.sleep(PAUSE_S)
            grown = target.memory_bytes - warm_bytes
            files, state = target.files, await asyncio.to_thread(target.state)

    assert done["calls"] > 0
    assert grown <= NOISE_BYTES + warm_bytes * 0.1
    assert files <= warm_files + SPARE_FILES
    assert state.tasks <= warm.tasks + SPARE_TASKS
    assert (state.running_handlers, state.open_spans) == (0, 0)
    assert state.calls <= MAX_CALLS
    return f"{engine}: {done['calls']} calls, {grown / MEBIBYTE:+.1f} MiB, {files} files, {state.tasks} tasks"


@pytest.mark.parametrize("engine", ENGINES)
async def test_resources_do_not_grow(tmp_path: Path, engine: str) -> None:
    """Memory, files and tasks of a server do not grow during three seconds of mixed calls."""
    await soak(tmp_path, engine, SHORT_S)


@pytest.mark.soak
@pytest.mark.parametrize("engine", ENGINES)
async def test_resources_do_not_grow_in_minutes(tmp_path: Path, engine: str) -> None:
    """Memory, files and tasks of a server do not grow during SOAK_MINUTES (default 2) of mixed calls."""
    seen = await soak(tmp_path, engine, MINUTE_S * float(os.environ.get("SOAK_MINUTES", "2")))
    print(seen)  # noqa: T201 - a report
