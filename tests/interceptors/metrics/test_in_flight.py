from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.interceptors.metrics.samples import samples, total
from tests.support.begun_calls import begin_server_stream, begin_unary, each_begun_shape, until_ended, wait_for_end
from tests.support.echo_server import Endless
from tests.support.span_count import SpanCount

if TYPE_CHECKING:
    from collections.abc import Callable

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer


@each_begun_shape
async def test_a_cancelled_call_is_no_longer_in_flight(
    echo: EchoServer, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """A cancelled call of any shape is counted as cancelled on both sides and is no longer in flight."""
    hook = echo.servicer.hook = Endless()
    call = begin(echo.stub())
    waiting = asyncio.create_task(wait_for_end(call))
    await hook.entered.wait()
    assert total(echo.registry, "grpc_server_in_flight") == total(echo.registry, "grpc_client_in_flight") == 1

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await hook.cancelled.wait()
    await echo.stop()

    for side in ("server", "client"):
        assert total(echo.registry, f"grpc_{side}_in_flight") == 0
        assert {key[:2] for key in samples(echo.registry, f"grpc_{side}_handled_total")} == {("Canceled", "CANCELLED")}


@pytest.mark.parametrize("begin", [begin_unary, begin_server_stream])
async def test_a_thousand_cancelled_calls_are_all_handled(
    echo: EchoServer, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """After 1,000 cancelled calls none is in flight, every started call is handled, and every span has ended."""
    count = SpanCount()
    echo.tracers.add_span_processor(count)
    before = asyncio.all_tasks()
    stub = echo.stub()
    hook = echo.servicer.hook = Endless()
    calls = [begin(stub) for _ in range(1000)]
    waiting = asyncio.gather(*map(wait_for_end, calls), return_exceptions=True)
    await hook.entered.wait()

    for call in calls:
        call.cancel()

    assert {type(each) for each in await waiting} == {asyncio.CancelledError}
    await echo.stop()
    await until_ended(asyncio.all_tasks() - before)
    assert count.begun >= 2
    assert count.unfinished == 0
    for side in ("server", "client"):
        assert total(echo.registry, f"grpc_{side}_in_flight") == 0
        begun, ended = (total(echo.registry, f"grpc_{side}_{what}_total") for what in ("started", "handled"))
        assert begun == ended > 0
