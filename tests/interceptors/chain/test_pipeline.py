"""Order and errors of interceptors that act before and after a handler, and of those that await."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from contracts.method import find_method
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.server import ServerChain, ServerInterceptor
from interceptors.deadline.interceptor import ClientDeadline
from interceptors.keys.interceptor import ServerApiKey
from interceptors.keys.keyring import Keyring
from interceptors.propagation import ServerContext
from solo60.example.v1 import echo_pb2
from tests.support.echo import EchoServicer
from tests.support.echo_serving import serving
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from contracts.method import Method
    from interceptors.chain.call import Call, Finish, Proceed, Start

HI = echo_pb2.EchoRequest(text="hi")
INTERNAL, OK = grpc.StatusCode.INTERNAL, grpc.StatusCode.OK


class Recorder(ServerInterceptor):
    """Interceptor that adds its name to a record before the rest of the chain, and its name with the error after it.

    It raises an error at the moment `raises_at`: "start" or "finish".
    """

    def __init__(self, name: str, record: list[str], raises_at: str = "") -> None:
        self._name, self._record, self._raises_at = name, record, raises_at

    def start(self, call: Call) -> Finish:
        self._record.append(self._name)
        if self._raises_at == "start":
            raise ValueError(f"start of {self._name}")
        return self._finish

    def _finish(self, _call: Call, error: BaseException | None) -> None:
        self._record.append(f"{self._name}: {error!r}")
        if self._raises_at == "finish":
            raise ValueError(f"finish of {self._name}")


class AwaitingRecorder(Recorder):
    """Recorder that awaits, so it overrides `intercept`."""

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        await asyncio.sleep(0)
        try:
            return await super().intercept(call, proceed)
        finally:
            await asyncio.sleep(0)


def chain_of(*interceptors: ServerInterceptor) -> ServerChain:
    """Return a chain of these interceptors with the context of calls."""
    return ServerChain([ServerContext(), *interceptors])


@pytest.mark.parametrize("middle", [Recorder, AwaitingRecorder])
async def test_interceptors_end_in_reverse_order(middle: type[Recorder]) -> None:
    """Interceptors start from the outside in and end from the inside out, also around one that awaits."""
    record: list[str] = []
    async with serving(chain_of(Recorder("a", record), middle("b", record), Recorder("c", record))) as stub:
        assert (await stub.Echo(HI)).text == "hi"

    assert record == ["a", "b", "c", "c: None", "b: None", "a: None"]


@pytest.mark.parametrize("middle", [Recorder, AwaitingRecorder])
@pytest.mark.parametrize(
    ("raises_at", "expected"),
    [
        ("start", ["a", "b", "a: ValueError('start of b')"]),
        ("finish", ["a", "b", "c", "c: None", "b: None", "a: ValueError('finish of b')"]),
    ],
)
async def test_an_error_of_an_interceptor_ends_the_outer_ones(
    middle: type[Recorder], raises_at: str, expected: list[str]
) -> None:
    """An interceptor that raises ends the call; those outside of it end with its error, and no other one starts."""
    record: list[str] = []
    chain = Recorder("a", record), middle("b", record, raises_at), Recorder("c", record)
    async with serving(chain_of(*chain)) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Echo(HI)

    assert failed.value.code() is INTERNAL
    assert "of b" not in str(failed.value.details())
    assert record == expected


async def test_an_error_after_the_handler_replaces_its_error() -> None:
    """If an interceptor raises after a handler that failed, the outer interceptors get the later error."""
    record: list[str] = []

    async def fail() -> None:
        raise KeyError("handler")

    servicer = EchoServicer()
    servicer.hook = fail
    async with serving(chain_of(Recorder("a", record), Recorder("b", record, "finish")), servicer=servicer) as stub:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Echo(HI)

    assert record == ["a", "b", "b: KeyError('handler')", "a: ValueError('finish of b')"]


@pytest.mark.parametrize("middle", [Recorder, AwaitingRecorder])
async def test_a_cancelled_call_ends_every_interceptor(middle: type[Recorder]) -> None:
    """A cancelled call ends every interceptor once, with CancelledError."""
    record: list[str] = []
    servicer, entered = EchoServicer(), asyncio.Event()

    async def wait() -> None:
        entered.set()
        await asyncio.Event().wait()

    servicer.hook = wait
    async with serving(chain_of(Recorder("a", record), middle("b", record)), servicer=servicer) as stub:
        call = stub.Echo(HI)
        await entered.wait()
        call.cancel()
        await eventually(lambda: record[-1:] == ["a: CancelledError()"])

    assert record == ["a", "b", "b: CancelledError()", "a: CancelledError()"]


class PerMethod(ServerInterceptor):
    """Interceptor that records each call of `start_of`, and each start of a call."""

    def __init__(self, record: list[str]) -> None:
        self._record = record

    def start_of(self, method: Method) -> Start:
        self._record.append(f"start_of {method.name}")
        return lambda call: self._record.append(f"starts {call.method.name}")


class AroundPerMethod(PerMethod):
    """The same interceptor with an `intercept` of its own, which starts the interceptor."""

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        return await super().intercept(call, proceed)


@pytest.mark.parametrize("kind", [PerMethod, AroundPerMethod])
async def test_start_of_runs_once_per_method(kind: type[PerMethod]) -> None:
    """A server calls `start_of` once per method, and the returned function for every call."""
    record: list[str] = []
    async with serving(chain_of(kind(record))) as stub:
        await stub.Echo(HI)
        await stub.Echo(HI)

    assert record == ["start_of Echo", "starts Echo", "starts Echo"]


class Wrapper(ServerInterceptor):
    """Interceptor that starts another one by its `start`."""

    def __init__(self, inner: ServerInterceptor) -> None:
        self._inner = inner

    def start(self, call: Call) -> Finish | None:
        return self._inner.start(call)


async def test_start_starts_an_interceptor_that_overrides_start_of() -> None:
    """A wrapped interceptor of API keys rejects a call without a key, although it overrides only `start_of`."""
    async with serving(chain_of(Wrapper(ServerApiKey(lambda: Keyring([]))))) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Echo(HI)

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_start_starts_a_client_interceptor_that_overrides_start_of() -> None:
    """`start` of a client interceptor that overrides only `start_of` does the same."""
    call = ClientCall(find_method("/solo60.example.v1.EchoService/Echo"), [], 1.0)

    ClientDeadline().start(call)

    assert call.metadata == [("x-timeout-ms", "1000")]


@pytest.mark.parametrize("parent", [ServerApiKey, ClientDeadline])
def test_a_start_that_no_call_would_run_is_an_error(parent: type) -> None:
    """A subclass of a class with `start_of` must not override `start`: no call would run it."""
    with pytest.raises(TypeError, match=rf"Stricter, but {parent.__name__} starts its calls by start_of"):
        type("Stricter", (parent,), {"start": lambda _self, _call: None})


@pytest.mark.parametrize("parent", [ServerInterceptor, ClientInterceptor, ServerApiKey, ClientDeadline])
def test_every_class_may_override_start_of(parent: type) -> None:
    """A class may override `start_of`, also together with `start`, and its subclasses need not override either."""
    both = type("Both", (parent,), {"start": lambda _self, _call: None, "start_of": lambda self, _method: self.start})

    type("Heir", (both,), {})
