"""Parity of calls through a chained channel and through a bare one, for every method in every state."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from google.protobuf.message import Message

from contracts.errors import ServiceError
from interceptors.chain.channel import ChainedChannel
from interceptors.hedging import ClientHedging
from interceptors.keys.interceptor import API_KEY
from interceptors.retry_budget import RetryBudgets
from mesh.serving.health_probe import probe_of
from mesh.serving.server import HEALTH_SERVICE
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.begun_calls import until_ended
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mesh.serving.health_probe import Probe
    from tests.support.echo_server import EchoServer

    Action = Callable[[Any], Awaitable[object]]

ONE_JOINED, ONE_EACH = echo_pb2.EchoJoinedRequest(text="hi"), echo_pb2.EchoEachRequest(text="hi")
# A call that has not ended after this many answered health checks is considered to be waiting.
HEALTH_CHECKS = 5
SHORT_S = 0.05


class Requests:
    """Iterator with one request. Unless that request is the last, the iterator then waits without end."""

    def __init__(self, request: Message, *, last: bool) -> None:
        self._request = request
        self._is_last = last
        self.ended = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Message]:
        try:
            yield self._request
            if not self._is_last:
                await asyncio.Event().wait()
        finally:
            self.ended.set()


class CallShape:
    """Shape of an RPC, in one of grpc.aio's two styles."""

    def __init__(self, method: str, request: Message, *, many: bool = False, iterated: bool = False) -> None:
        self.method = method
        self.request = request
        self.is_iterated = iterated
        self.is_written = many and not iterated

    def begin(self, stub: Any, *, last: bool = True, **options: Any) -> Any:
        """Begin a call. `last` ends an iterator of requests after the first one."""
        if self.is_written:
            return getattr(stub, self.method)(**options)
        request = Requests(self.request, last=last) if self.is_iterated else self.request
        return getattr(stub, self.method)(request, **options)


SHAPES = {
    "unary": CallShape("Echo", echo_pb2.EchoRequest(text="hi")),
    "hedged": CallShape("EchoHedged", echo_pb2.EchoHedgedRequest(text="hi")),
    "answers": CallShape("EchoMany", echo_pb2.EchoManyRequest(text="hi", repeat=2)),
    "requests written": CallShape("EchoJoined", ONE_JOINED, many=True),
    "requests iterated": CallShape("EchoJoined", ONE_JOINED, many=True, iterated=True),
    "both written": CallShape("EchoEach", ONE_EACH, many=True),
    "both iterated": CallShape("EchoEach", ONE_EACH, many=True, iterated=True),
}


async def not_started(_echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Begin a call and return it at once."""
    return shape.begin(stub, last=False, metadata=metadata)


async def writing(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Return a call in progress at the server, with more requests to come."""
    call = shape.begin(stub, last=False, metadata=metadata)
    if shape.is_written:
        await call.write(shape.request)
    await until_handler_waits(echo, call)
    return call


async def half_closed(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Return a call in progress at the server, with all requests sent."""
    call = shape.begin(stub, metadata=metadata)
    if shape.is_written:
        await call.write(shape.request)
        await call.done_writing()
    await until_handler_waits(echo, call)
    return call


async def cancelled(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Cancel a call in progress at the server."""
    call = await writing(echo, stub, shape, metadata)
    call.cancel()
    await call.code()
    return call


async def expired(_echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Let a call expire at a silent server, because an answering server might end the call first."""
    call = shape.begin(stub, last=False, metadata=metadata, timeout=SHORT_S)
    await call.code()
    return call


async def succeeded(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Return a call that succeeded."""
    echo.servicer.hook = answer
    call = shape.begin(stub, metadata=metadata)
    if shape.is_written:
        await call.write(shape.request)
        await call.done_writing()
    if hasattr(call, "read") and shape.is_iterated:
        assert [each async for each in call] != []
    elif hasattr(call, "read"):
        while await call.read() is not grpc.aio.EOF:
            pass
    await call.code()
    return call


async def failed(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Return a call that failed."""
    echo.servicer.hook = fail
    call = shape.begin(stub, last=False, metadata=metadata)
    await call.code()
    return call


async def answer() -> None:
    """Let the handler answer."""


async def fail() -> None:
    """Fail like a handler with a bug."""
    raise ValueError("a bug")


async def until_handler_waits(echo: EchoServer, call: Any) -> None:
    """Wait until a call is sent and its handler waits in its hook."""
    if isinstance(call, grpc.aio.StreamUnaryCall | grpc.aio.StreamStreamCall):  # other calls are sent when they begin
        await call.wait_for_connection()
    hook = echo.servicer.hook
    assert isinstance(hook, Endless)
    await hook.entered.wait()


STATES = (not_started, writing, half_closed, cancelled, expired, succeeded, failed)


async def wait(call: Any) -> object:
    """Wait for the answer."""
    return await call


async def iterate(call: Any) -> object:
    """Return the next answer."""
    return await anext(aiter(call), "the end")


async def write(call: Any) -> object:
    """Write one more request."""
    return await call.write(ONE_JOINED if isinstance(call, grpc.aio.StreamUnaryCall) else ONE_EACH)


async def wait_for_callback(call: Any) -> object:
    """Wait for the done callback, and return whether it got this call."""
    notified: asyncio.Queue[object] = asyncio.Queue()
    call.add_done_callback(notified.put_nowait)
    return await notified.get() is call


async def class_names(call: Any) -> object:
    """Return the names of grpc.aio's classes that the call is an instance of."""
    names = ("Call", "RpcContext", "UnaryUnaryCall", "UnaryStreamCall", "StreamUnaryCall", "StreamStreamCall")
    return [name for name in names if isinstance(call, getattr(grpc.aio, name))]


def method_caller(name: str) -> Action:
    """Return a function that calls a method without arguments."""

    async def call_method(call: Any) -> object:
        answer = getattr(call, name)()
        return await answer if asyncio.iscoroutine(answer) else answer

    return call_method


NAMES = (
    *("cancel", "cancelled", "done", "time_remaining", "wait_for_connection", "done_writing", "read"),
    *("initial_metadata", "trailing_metadata", "code", "details", "debug_error_string", "__str__", "__repr__"),
)
METHODS: dict[str, Action] = {
    **{name: method_caller(name) for name in NAMES},
    "__await__": wait,
    "__aiter__": iterate,
    "write": write,
    "add_done_callback": wait_for_callback,
    "__class__": class_names,
}


class Result:
    """Result of a method: `outcome` in words, and the `error` that it raised, if any."""

    def __init__(self, outcome: str, error: BaseException | None = None) -> None:
        self.outcome = outcome
        self.error = error


def describe(value: object) -> str:
    """Describe a value, without the parts that differ from call to call."""
    if isinstance(value, grpc.aio.Metadata):
        return f"metadata {sorted(name for name, _ in value)}"
    if isinstance(value, float | Message):
        return type(value).__name__
    text = str(value)
    return text.partition(" of ")[0] if text.startswith("<_AioCall") else text


def result_of(task: asyncio.Future[object]) -> Result:
    """Return the result of a method's task."""
    if not task.done():
        return Result("waits")
    if task.cancelled():
        return Result("raises CancelledError", asyncio.CancelledError())
    error = task.exception()
    if isinstance(error, ServiceError):
        return Result(f"raises {error.code}", error)
    if isinstance(error, grpc.aio.AioRpcError):
        return Result(f"raises {error.code()}", error)
    return Result(f"raises {type(error).__name__}", error) if error else Result(f"returns {describe(task.result())}")


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Listen at an address without ever answering."""
    is_over = asyncio.Event()

    async def never_answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_over.wait()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        is_over.set()


async def run_all(calls: dict[str, Any], probe: Probe) -> dict[str, Result]:
    """Run each method on a call of its own, all at once, and return their results."""
    tasks = {name: asyncio.ensure_future(METHODS[name](call)) for name, call in calls.items() if hasattr(call, name)}
    for _ in range(HEALTH_CHECKS):
        await probe()
    seen = {name: result_of(task) for name, task in tasks.items()}
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    for call in calls.values():
        call.cancel()
    return seen


def expected(state: str, shape: str, method: str, bare_result: Result) -> str:
    """Return the expected result of our call: that of the bare call, except for differences in docs/interceptors.md."""
    if method == "write" and state in {"expired", "failed"} and shape in {"requests written", "both written"}:
        assert isinstance(bare_result.error, asyncio.InvalidStateError)
        return {"expired": "raises StatusCode.DEADLINE_EXCEEDED", "failed": "raises StatusCode.INTERNAL"}[state]
    return bare_result.outcome


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach_state", STATES)
async def test_a_call_behaves_like_grpc_aio_in_every_state(
    echo: EchoServer, reach_state: Callable[..., Awaitable[Any]], shape: str
) -> None:
    """Every method of a chained call behaves like that of a bare call, in every state and shape.

    Only the errors differ: they are those of the contracts.
    """
    metadata = ((API_KEY, echo.key),)
    seen: list[dict[str, Result]] = []
    async with (
        silent_server() as silent_address,
        grpc.aio.insecure_channel(silent_address if reach_state is expired else echo.address) as bare,
        probe_of(echo.address, HEALTH_SERVICE) as probe,
    ):
        for channel in (bare, ChainedChannel(bare, [ClientHedging(RetryBudgets())])):
            stub = EchoServiceStub(channel)
            echo.servicer.hook = Endless()
            reached = await asyncio.gather(*(reach_state(echo, stub, SHAPES[shape], metadata) for _ in METHODS))
            seen.append(await run_all(dict(zip(METHODS, reached, strict=True)), probe))
    bare_result, our_result = seen

    assert {name: each.outcome for name, each in our_result.items()} == {
        name: expected(reach_state.__name__, shape, name, each) for name, each in bare_result.items()
    }
    assert not any(isinstance(each.error, grpc.aio.AioRpcError) for each in our_result.values())


async def test_every_public_method_is_compared(echo: EchoServer) -> None:
    """The comparison covers every public method of grpc.aio's calls."""
    stub = EchoServiceStub(echo.bare_channel())
    public_methods = {name for shape in SHAPES.values() for name in dir(shape.begin(stub)) if not name.startswith("_")}

    assert public_methods <= METHODS.keys()


@pytest.mark.parametrize("iterated", [ONE_JOINED, ONE_EACH])
async def test_client_streams_take_arguments_by_name_and_position(echo: EchoServer, iterated: Message) -> None:
    """Calls with a stream of requests accept requests and options by position and by name, like those of grpc.aio."""
    metadata = ((API_KEY, echo.key),)
    for channel in (echo.bare_channel(), ChainedChannel(echo.bare_channel(), [])):
        stub: Any = EchoServiceStub(channel)
        begin = stub.EchoJoined if iterated is ONE_JOINED else stub.EchoEach

        by_name = begin(request_iterator=Requests(iterated, last=True), timeout=30.0, metadata=metadata)
        by_position = begin(Requests(iterated, last=True), 30.0, metadata, None, True, None)  # noqa: FBT003 - on purpose

        assert [await answer_of(by_name), await answer_of(by_position)] == ["hi", "hi"]
        assert 0 <= by_position.time_remaining() <= 30


async def answer_of(call: Any) -> str:
    """Return the text of the only answer."""
    if hasattr(call, "read"):
        [answer] = [each.text async for each in call]
        return str(answer)
    return str((await call).text)


async def cancel_reader(call: Any, waiting: asyncio.Task[object], _channel: Any) -> None:
    """Cancel the only reader of a call."""
    del call
    waiting.cancel()


async def cancel(call: Any, _waiting: asyncio.Task[object], _channel: Any) -> None:
    """Cancel a call."""
    call.cancel()


async def close(_call: Any, _waiting: asyncio.Task[object], channel: Any) -> None:
    """Close the channel under a call."""
    await channel.close()


async def do_nothing(_call: Any, _waiting: asyncio.Task[object], _channel: Any) -> None:
    """Let a call end by itself."""


@pytest.mark.parametrize("request_", [ONE_JOINED, ONE_EACH], ids=["requests", "both"])
@pytest.mark.parametrize(
    ("hook", "timeout_s", "end"),
    [
        (Endless, SHORT_S, do_nothing),
        (lambda: fail, None, do_nothing),
        (Endless, None, cancel),
        (Endless, None, cancel_reader),
        (Endless, None, close),
    ],
    ids=["expires", "fails", "is cancelled", "reader is cancelled", "channel is closed"],
)
async def test_the_request_iterator_of_an_ended_call_is_closed(
    echo: EchoServer,
    request_: Message,
    hook: Callable[[], Any],
    timeout_s: float | None,
    end: Callable[..., Awaitable[None]],
) -> None:
    """However a call ends, its request iterator is closed and the task that waits for the next request ends."""
    before = asyncio.all_tasks()
    requests = Requests(request_, last=False)
    channel = ChainedChannel(echo.bare_channel(), [])
    stub: Any = EchoServiceStub(channel)
    hook_instance = hook()
    echo.servicer.hook = hook_instance
    begin = stub.EchoJoined if request_ is ONE_JOINED else stub.EchoEach
    call = begin(requests, timeout=timeout_s, metadata=((API_KEY, echo.key),))
    waiting = asyncio.create_task(answer_of(call))
    if isinstance(hook_instance, Endless) and timeout_s is None:
        await hook_instance.entered.wait()

    await end(call, waiting, channel)

    async with asyncio.timeout(30):
        await asyncio.gather(waiting, return_exceptions=True)
        await requests.ended.wait()
    await echo.stop()
    await until_ended(asyncio.all_tasks() - before)
