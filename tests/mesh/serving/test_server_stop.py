from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from mesh.serving.process import serving
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.mesh.serving.served_echo import (
    CHECK,
    HI,
    METADATA,
    NOT_SERVING,
    SERVING,
    connected,
    echo_hi,
    echo_service,
    health_of,
    refusal_of,
)
from tests.support.echo_server import Endless
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from mesh.config import Settings
    from tests.support.echo import EchoServicer

# Without this option, channels to one address share their connection.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@pytest.mark.requirement("S2", "S5")
async def test_a_stop_is_announced_before_the_port_closes(settings: Settings, servicer: EchoServicer) -> None:
    """A stopping service reports NOT_SERVING, serves calls during the drain wait, and then closes its port."""
    patient = settings.model_copy(update={"drain_wait_s": 2.0})
    async with AsyncExitStack() as stack:
        stopping = AsyncExitStack()
        server = await stopping.enter_async_context(serving(echo_service(servicer), patient, "127.0.0.1:0"))
        channel = await stack.enter_async_context(connected(server))
        watching = health_of(channel).Watch(CHECK)
        assert (await watching.read()).status == SERVING

        stop = asyncio.create_task(stopping.aclose())

        assert (await watching.read()).status == NOT_SERVING
        assert (await EchoServiceStub(channel).Echo(HI, metadata=METADATA)).text == "hi"
        assert (await health_of(channel).Check(CHECK)).status == NOT_SERVING
        watching.cancel()
        await stop
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)


@pytest.mark.requirement("S2")
async def test_a_running_call_is_finished_before_the_server_ends(settings: Settings, servicer: EchoServicer) -> None:
    """A stopping server finishes running calls, although its port is already closed."""
    hook = servicer.hook = Endless()
    stopping = AsyncExitStack()
    server = await stopping.enter_async_context(serving(echo_service(servicer), settings, "127.0.0.1:0"))
    async with connected(server) as channel:
        call = asyncio.ensure_future(echo_hi(channel))
        await hook.entered.wait()
        stop = asyncio.create_task(stopping.aclose())
        await _until_refused(server.port)

        hook.is_open.set()

        assert (await call).text == "hi"
        await stop


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_the_last_answers_are_written_before_the_server_ends(
    settings: Settings, servicer: EchoServicer, engine: str
) -> None:
    """The answers of calls that all end during a stop are written before the server ends."""
    hook = servicer.hook = Endless()
    stopping = AsyncExitStack()
    own = settings.model_copy(update={"engine": engine})
    server = await stopping.enter_async_context(serving(echo_service(servicer), own, "127.0.0.1:0"))
    async with connected(server) as channel:
        calls = [asyncio.ensure_future(echo_hi(channel)) for _ in range(20)]
        await eventually(lambda: servicer.entered == len(calls))
        stop = asyncio.create_task(stopping.aclose())
        await _until_refused(server.port)

        hook.is_open.set()

        assert [answer.text for answer in await asyncio.gather(*calls)] == ["hi"] * len(calls)
        await stop


@pytest.mark.requirement("S2")
async def test_a_call_that_outlasts_the_grace_is_cancelled(settings: Settings, servicer: EchoServicer) -> None:
    """A call that outlasts the drain grace is cancelled, so that the stop ends."""
    hook = servicer.hook = Endless()
    quick = settings.model_copy(update={"drain_grace_s": 0.1})
    stopping = AsyncExitStack()
    server = await stopping.enter_async_context(serving(echo_service(servicer), quick, "127.0.0.1:0"))
    async with connected(server) as channel:
        call = asyncio.ensure_future(echo_hi(channel))
        await hook.entered.wait()

        await stopping.aclose()

        await hook.cancelled.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def _until_refused(port: int) -> None:
    # The native engine closes its port only at the end, and rejects new calls.
    refusal = None
    while refusal is None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel:
            refusal = await refusal_of(health_of(channel).Check(CHECK))
    # A connection that was accepted just before the end is cut.
    assert refusal.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
