from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Self

import pytest

from contracts.errors import ServiceError
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.eventually import eventually
from tests.support.replicas import Replicas

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import grpc.aio

ENGINES = ("grpcio", "native")
pytestmark = pytest.mark.system
both_engines = pytest.mark.parametrize("engine", ENGINES)
CALLERS_OF_EACH_SHAPE = 8
# Eight callers keep both processors of a small machine so busy that a replica takes seconds to start.
CALLERS_IN_SHORT = 3
MESSAGES = 10


class Load:
    """Calls of two shapes without a pause, until the context ends."""

    def __init__(self, channel: grpc.aio.Channel, callers_of_each_shape: int) -> None:
        self._callers_of_each_shape = callers_of_each_shape
        self._stub = EchoServiceStub(channel)
        self._is_over = False
        self._answered_by: set[int] = set()
        self.answered = 0
        self.failed: list[ServiceError] = []

    async def __aenter__(self) -> Self:
        shapes = (self._echo, self._echo_many)
        self._callers = [asyncio.create_task(self._call(shape)) for shape in shapes * self._callers_of_each_shape]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._callers)

    async def until_answered_by(self, pid: int) -> None:
        """Wait until the process has answered a call."""
        await eventually(lambda: pid in self._answered_by)

    async def _call(self, shape: Callable[[], Awaitable[None]]) -> None:
        while not self._is_over:
            try:
                await shape()
            except ServiceError as error:
                self.failed.append(error)
            else:
                self.answered += 1

    async def _echo(self) -> None:
        answer = await self._stub.Echo(echo_pb2.EchoRequest(text="who"))
        self._answered_by.add(int(answer.text))

    async def _echo_many(self) -> None:
        answers = [each async for each in self._stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=MESSAGES))]
        assert len(answers) == MESSAGES


@both_engines
async def test_a_rolling_restart_fails_no_call(engine: str, tmp_path: Path, mesh_database_url: str) -> None:
    """Restarting each replica once fails no unary or streaming call, even without retries."""
    await restart_under_load(
        tmp_path,
        mesh_database_url,
        engine,
        restarts=2,
        drain_wait_s=0.5,
        retries=False,
        callers_of_each_shape=CALLERS_IN_SHORT,
    )


@both_engines
@pytest.mark.soak
@pytest.mark.parametrize("retries", [True, False])
@pytest.mark.parametrize("drain_wait_s", [0.1, 0.5])
async def test_twenty_rolling_restarts_fail_no_call(
    engine: str, tmp_path: Path, mesh_database_url: str, drain_wait_s: float, *, retries: bool
) -> None:
    """Twenty rolling restarts fail no call, with the shortest sufficient drain wait and with the usual one."""
    await restart_under_load(
        tmp_path, mesh_database_url, engine, restarts=20, drain_wait_s=drain_wait_s, retries=retries
    )


async def restart_under_load(
    folder: Path,
    database_url: str,
    engine: str,
    *,
    restarts: int,
    drain_wait_s: float,
    retries: bool,
    callers_of_each_shape: int = CALLERS_OF_EACH_SHAPE,
) -> None:
    """Restart the replicas in turn under load; assert that no call fails and each replica exits with code 0."""
    codes = []
    async with (
        Replicas.started(folder, database_url, engine=engine, drain_wait_s=drain_wait_s) as replicas,
        replicas.channel(retries=retries) as channel,
        Load(channel, callers_of_each_shape) as load,
    ):
        for number in range(restarts):
            await load.until_answered_by(replicas.pid(1 - number % 2))
            codes.append(await replicas.restart(number % 2))

    assert (load.failed, set(codes)) == ([], {0}), replicas.log
    assert load.answered > restarts


@both_engines
async def test_repeated_stop_signals_do_not_interrupt_the_stop(
    engine: str, tmp_path: Path, mesh_database_url: str
) -> None:
    """Further SIGTERM or SIGINT signals do not interrupt a clean stop. The service runs on uvloop."""
    async with Replicas.started(tmp_path, mesh_database_url, number=1, engine=engine) as replicas:
        assert await replicas.stop(0, signal.SIGTERM, signal.SIGTERM, signal.SIGINT) == 0

    lines = map(json.loads, replicas.log.splitlines())
    assert [line["of"] for line in lines if line["event"] == "loop"] == ["uvloop"]
