"""Ends of outgoing calls: each interceptor is notified once, however the caller waits for the call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from interceptors.chain.channel import ChainedChannel
from interceptors.chain.client import ClientCall, ClientInterceptor
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.chain.test_client_call import EndRecorder
from tests.support.call_shapes import HI
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from interceptors.chain.client import ClientFinish
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer


class Faulty(ClientInterceptor):
    """Interceptor with a fault after each call."""

    def start(self, _call: ClientCall) -> ClientFinish:
        return self._fail

    def _fail(self, _call: ClientCall, _error: BaseException | None) -> None:
        raise ValueError("a fault")


@pytest.fixture
def recorder(echo: EchoServer) -> EndRecorder:
    """Return the recorder of how the calls of `stub` end."""
    return EndRecorder(echo.key)


@pytest.fixture
async def stub(echo: EchoServer, recorder: EndRecorder) -> AsyncIterator[EchoServiceAsyncStub]:
    """Return a stub with the recorder alone."""
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), [recorder]) as chained:
        yield EchoServiceStub(chained)


async def test_outer_interceptors_end_after_a_fault_of_an_inner_one(echo: EchoServer, recorder: EndRecorder) -> None:
    """If an interceptor raises at the end of a call, the outer ones are notified of its error, and the caller gets it.

    Otherwise a circuit breaker would wait forever for the end of its trial call.
    """
    channel = grpc.aio.insecure_channel(echo.address)
    async with ChainedChannel(channel, [recorder, Faulty(), Faulty()]) as chained:
        with pytest.raises(ValueError, match="a fault"):
            await EchoServiceStub(chained).Echo(HI)

    assert [repr(each) for each in recorder.errors] == ["ValueError('a fault')"]


async def cancel(call: Any) -> None:
    """Cancel a call while a task awaits it."""
    waiting = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    call.cancel()
    await waiting


async def cancel_one_of_two_tasks(call: Any) -> None:
    """Cancel one of two tasks that await a call, which cancels the call."""
    first, second = asyncio.ensure_future(call), asyncio.ensure_future(call)
    await asyncio.sleep(0)
    first.cancel()
    await second


async def give_up(call: Any) -> None:
    """Stop to wait for a call."""
    try:
        await asyncio.wait_for(call, 0.05)
    except TimeoutError:
        raise asyncio.CancelledError from None


@pytest.mark.parametrize("end", [cancel, cancel_one_of_two_tasks, give_up])
async def test_a_cancelled_call_ends_once(
    echo: EchoServer, stub: EchoServiceAsyncStub, recorder: EndRecorder, end: Callable[[Any], Awaitable[None]]
) -> None:
    """The interceptors are notified once of a call that is cancelled while it is awaited."""
    echo.servicer.hook = endless = Endless()
    call: Any = stub.Echo(HI)
    await endless.entered.wait()

    with pytest.raises(asyncio.CancelledError):
        await end(call)

    assert await call.code() is grpc.StatusCode.CANCELLED
    assert [type(each) for each in recorder.errors] == [asyncio.CancelledError]


async def test_a_shielded_call_goes_on(stub: EchoServiceAsyncStub, recorder: EndRecorder) -> None:
    """A call that is shielded from the end of the wait still returns its response."""
    call: Any = stub.Echo(HI)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(call), 0)

    assert (await call).text == "hi"
    assert recorder.errors == [None]


async def test_a_call_whose_waiting_task_never_starts_ends(stub: EchoServiceAsyncStub, recorder: EndRecorder) -> None:
    """A call ends successfully if the task that would await it is cancelled before it starts."""
    asyncio.ensure_future(stub.Echo(HI)).cancel()

    await asyncio.wait_for(recorder.has_ended.wait(), 10)
    assert recorder.errors == [None]
