from __future__ import annotations

import asyncio
import gc
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio
import psutil
import pytest
from structlog.testing import capture_logs

from contracts.errors import Cancelled, DeadlineExceeded
from interceptors.chain.call import Call
from interceptors.chain.client import ClientCall
from interceptors.context import current_context
from interceptors.keys.interceptor import API_KEY
from solo60.example.v1 import echo_pb2 as pb
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.attack.target import OpenSpans
from tests.support.echo import EchoServicer
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator

    from structlog.typing import EventDict

    from tests.support.echo_server import EchoServer, ServeEcho

SHORT, LONG = 50, 1_000
AT_ONCE = 25
TIMEOUT_S = 30.0
# grpc's threads open and close sockets and timers at any time.
SPARE_FILES = 10


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[list[EventDict]]:
    """Collect the log lines instead of printing them.

    grpc logs an answer that arrives too late for its call. pytest would hold that record and with it the call's frames.
    """
    caplog.set_level(logging.CRITICAL, logger="grpc._cython.cygrpc")
    with capture_logs() as lines:
        yield lines


async def endless_requests(message: object) -> AsyncIterator[object]:
    """Yield one message and never end."""
    yield message
    await asyncio.Event().wait()


async def unary(stub: Any, timeout_s: float | None) -> None:
    """Make a unary call."""
    await stub.Echo(pb.EchoRequest(text="hi"), timeout=timeout_s)


async def server_stream(stub: Any, timeout_s: float | None) -> None:
    """Make a call with a stream of answers."""
    async for _ in stub.EchoMany(pb.EchoManyRequest(text="hi", repeat=2), timeout=timeout_s):
        pass


async def client_stream(stub: Any, timeout_s: float | None) -> None:
    """Make a call with an endless stream of requests."""
    await stub.EchoJoined(endless_requests(pb.EchoJoinedRequest(text="hi")), timeout=timeout_s)


async def both_streams(stub: Any, timeout_s: float | None) -> None:
    """Make a call with an endless stream of requests and a stream of answers."""
    async for _ in stub.EchoEach(endless_requests(pb.EchoEachRequest(text="hi")), timeout=timeout_s):
        pass


SHAPES = {each.__name__: each for each in (unary, server_stream, client_stream, both_streams)}


# Tasks in which grpc.aio's server waits for the next call of a method. Each ends with its call, and another starts.
ACCEPTING = {"AioServer._request_call", "AioServer._request_registered_call"}


class Resources:
    """Current resources of the calls to one server: open spans, tasks, our call objects with its key, and files.

    Calls of other tests do not count, because errors in their parameters hold some forever. Tasks that wait for a call
    do not count either, because their number changes at any moment.
    """

    def __init__(self, spans: OpenSpans, key: str) -> None:
        gc.collect()
        self.spans = spans.now
        self.tasks = len([task for task in asyncio.all_tasks() if task.get_coro().__qualname__ not in ACCEPTING])  # type: ignore[union-attr]  # every task has a coroutine
        ours = (each for each in gc.get_objects() if isinstance(each, Call | ClientCall))
        self.calls = len([call for call in ours if (API_KEY, key) in call_metadata(call)])
        self.files = psutil.Process(os.getpid()).num_fds()

    def __repr__(self) -> str:
        return str(vars(self))


def call_metadata(call: Call | ClientCall) -> Collection[tuple[str, str | bytes]]:
    """Return the metadata of a server's or client's call."""
    return call.metadata.items() if isinstance(call, Call) else call.metadata


async def until_released(most: Callable[[], Resources], tasks: int, files: int) -> None:
    """Wait until no span and no call is left, at most `tasks` tasks, and at most `files` + SPARE_FILES files."""
    for _ in range(int(TIMEOUT_S / 0.05)):
        resources = most()
        if (
            (resources.spans, resources.calls) == (0, 0)
            and resources.tasks <= tasks
            and resources.files <= files + SPARE_FILES
        ):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{resources} is left; there were {tasks} tasks and {files} files before")


async def cancel_many(server: EchoServer, shape: Callable[..., Any], number: int) -> None:
    """Start calls that wait in their handlers, cancel them there, and assert that each reports its cancellation."""
    stub, hook = server.stub(), Endless()
    server.servicer.hook = hook
    for _ in range(number // AT_ONCE):
        entered = server.servicer.entered + AT_ONCE
        calls = [asyncio.create_task(shape(stub, None)) for _ in range(AT_ONCE)]
        while server.servicer.entered < entered:  # noqa: ASYNC110 - the server only counts
            await asyncio.sleep(0.001)
        for call in calls:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {asyncio.CancelledError, Cancelled}


async def let_expire(server: EchoServer, shape: Callable[..., Any], number: int) -> None:
    """Start calls that wait in their handlers until their deadline expires."""
    stub = server.stub()
    server.servicer.hook = Endless()
    for _ in range(number // AT_ONCE):
        calls = [shape(stub, 0.05) for _ in range(AT_ONCE)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}


async def replace_last_call(server: EchoServer) -> None:
    """Make one call that ends well.

    grpc.aio's server refers to the last call that it accepted until it accepts the next one. If the last call was
    aborted, for example because it arrived too late, its AbortError refers to the frames of the chain.

    The new call has its own connection. After hundreds of streams of requests have expired on one connection, gRPC's
    core sends no more calls over it, as if those streams were still open. Bare grpc.aio does the same.
    """
    del server.servicer.hook
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        await EchoServiceStub(channel).Echo(pb.EchoRequest(text="hi"), metadata=((API_KEY, server.key),))


async def assert_no_leaks(serve_echo: ServeEcho, end: Callable[..., Any], shape: str, number: int) -> None:
    """End calls of one shape early, and assert that no resource of these calls is left."""
    server = await serve_echo(EchoServicer())
    spans = OpenSpans()
    server.tracers.add_span_processor(spans)
    tasks = Resources(spans, server.key).tasks
    await end(server, SHAPES[shape], AT_ONCE)  # connects and warms up
    files = Resources(spans, server.key).files

    await end(server, SHAPES[shape], number)
    await replace_last_call(server)

    # The second `end` opens another channel, and SPARE_FILES covers its connection.
    await until_released(partial(Resources, spans, server.key), tasks, files)
    assert current_context() is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end", [cancel_many, let_expire])
async def test_calls_that_end_early_leak_nothing(serve_echo: ServeEcho, end: Callable[..., Any], shape: str) -> None:
    """50 cancelled or expired calls of each shape leave no task, span, context, call or file."""
    await assert_no_leaks(serve_echo, end, shape, SHORT)


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end", [cancel_many, let_expire])
async def test_very_many_calls_that_end_early_leak_nothing(
    serve_echo: ServeEcho, end: Callable[..., Any], shape: str
) -> None:
    """1,000 cancelled or expired calls of each shape leave no task, span, context, call or file."""
    await assert_no_leaks(serve_echo, end, shape, LONG)
