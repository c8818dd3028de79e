from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from contracts.errors import CircuitOpen, DeadlineExceeded, RateLimited, ServiceError, SlotTaken, Unavailable
from interceptors.api_key import API_KEY
from interceptors.chained_channel import ChainedChannel
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.errors import HEDGE_ATTEMPT, PUSHBACK_MS
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.engines import needs_pushback
from tests.support.retries import SERVICE, retry_options, retrying_stub

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer

HI = echo_pb2.EchoRequest(text="hi")
RETRIED = "solo60.example.v1.EchoService/Echo"
NOT_RETRIED = "solo60.example.v1.EchoService/EchoSheddable"


def raising(echo: EchoServer, error: ServiceError, callee: str = "") -> None:
    """Let every handler raise `error`, as if a call of `callee` had."""
    error.callee = callee

    async def hook() -> None:
        raise error

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for


async def pushback_of(
    echo: EchoServer, timeout_s: float | None = None, metadata: tuple[tuple[str, str], ...] = ()
) -> str | bytes | None:
    """Call once without retries, and return what the refusal says of another attempt."""
    own = ((API_KEY, echo.key), *metadata)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await EchoServiceStub(echo.bare_channel()).Echo(HI, metadata=own, timeout=timeout_s)
    trailing = caught.value.trailing_metadata()
    assert trailing is not None
    return trailing.get(PUSHBACK_MS)


@needs_pushback
@pytest.mark.parametrize(("retry_after_s", "pushback"), [(1.5, "1500"), (0.0001, "1"), (0.0, "0"), (None, None)])
async def test_the_core_is_told_when_to_come_back_as_people_are(
    echo: EchoServer, retry_after_s: float | None, pushback: str | None
) -> None:
    """Whole milliseconds, never fewer than were asked for."""
    raising(echo, RateLimited(retry_after_s=retry_after_s))

    assert await pushback_of(echo) == pushback


@needs_pushback
async def test_a_time_to_come_back_beyond_the_deadline_is_never(echo: EchoServer) -> None:
    """The core itself would sleep until the deadline."""
    raising(echo, Unavailable(retry_after_s=20))

    assert await pushback_of(echo, timeout_s=10) == "-1"
    assert await pushback_of(echo, timeout_s=100) == "20000"


@needs_pushback
@pytest.mark.parametrize(
    ("error", "callee", "pushback"),
    [
        (Unavailable(), RETRIED, "-1"),
        (Unavailable(retry_after_s=1), RETRIED, "-1"),
        (CircuitOpen(retry_after_s=1), RETRIED, "-1"),
        (DeadlineExceeded(), RETRIED, "-1"),
        (Unavailable(), NOT_RETRIED, None),
        (Unavailable(), "no.such.Service/Method", None),
        (Unavailable(), "", None),
        (SlotTaken(), RETRIED, None),
    ],
)
async def test_where_a_nearer_hop_has_retried_nobody_else_does(
    echo: EchoServer, error: ServiceError, callee: str, pushback: str | None
) -> None:
    """A fault of a callee that is retried by its own caller is not retried by that caller's caller."""
    raising(echo, error, callee)

    assert await pushback_of(echo) == pushback


@needs_pushback
async def test_a_service_may_say_it_in_its_own_words(echo: EchoServer) -> None:
    """What is raised from a callee's error is that fault still."""
    lost = Unavailable()
    lost.callee = RETRIED

    async def hook() -> None:
        raise Unavailable("Nothing was booked.") from lost

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for

    assert await pushback_of(echo) == "-1"


@needs_pushback
async def test_a_second_attempt_of_a_hedged_call_is_not_retried(echo: EchoServer) -> None:
    """Retries do not multiply hedges."""
    raising(echo, Unavailable())

    assert await pushback_of(echo, metadata=((HEDGE_ATTEMPT, "1"),)) == "-1"


async def test_what_an_interceptor_refuses_counts_as_the_callees_refusal() -> None:
    """For whom the call was made, it makes no difference on which side of the wire it was refused."""

    class Refuses(ClientInterceptor):
        def start(self, call: ClientCall) -> None:
            raise CircuitOpen(f"{call.method.name} is resting.")

    async with ChainedChannel(grpc.aio.insecure_channel("127.0.0.1:1"), [Refuses()]) as channel:
        with pytest.raises(CircuitOpen) as caught:
            await EchoServiceStub(channel).Echo(HI)

    assert caught.value.callee == RETRIED


@needs_pushback
async def test_the_core_waits_as_long_as_it_is_told(echo: EchoServer) -> None:
    """Not for its own pause of some 50 ms."""
    arrivals: list[float] = []

    async def hook() -> None:
        arrivals.append(time.monotonic())
        if len(arrivals) == 1:
            raise Unavailable(retry_after_s=0.4)

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    async with retrying_stub(echo) as stub:
        await stub.Echo(HI)

    assert arrivals[1] - arrivals[0] >= 0.4


@needs_pushback
async def test_a_pushback_beyond_the_deadline_fails_at_once(echo: EchoServer) -> None:
    """With the refusal that it was, and not with DEADLINE_EXCEEDED after a sleep."""
    raising(echo, Unavailable("Not now.", retry_after_s=100))

    async with retrying_stub(echo) as stub:
        with pytest.raises(Unavailable, match="Not now"):
            await stub.Echo(HI, timeout=50)

    assert echo.servicer.entered == 1


async def test_left_to_itself_the_core_sleeps_until_the_deadline() -> None:
    """Why it is the server that looks at the caller's deadline."""

    async def push_back(_request: Any, context: Any) -> None:  # noqa: ANN401 - grpc.aio's own types are open here
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Not now.", ((PUSHBACK_MS, "60000"),))

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(push_back)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, {"Echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=retry_options()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EchoServiceStub(channel).Echo(HI, timeout=0.5)
    await server.stop(0)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
