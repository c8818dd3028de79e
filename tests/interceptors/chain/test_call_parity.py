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
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.chain.calls_in_states import ONE_EACH, ONE_JOINED, SHAPES, STATES, expired
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mesh.serving.health_probe import Probe
    from tests.support.echo_server import EchoServer

    Action = Callable[[Any], Awaitable[object]]

# A call that has not ended after this many answered health checks is considered to be waiting.
HEALTH_CHECKS = 5


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
