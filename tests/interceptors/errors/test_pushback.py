from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from contracts.errors import CircuitOpen, DeadlineExceeded, RateLimited, ServiceError, SlotTaken, Unavailable
from interceptors.chain.channel import ChainedChannel
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.metadata import HEDGE_ATTEMPT, PUSHBACK_MS
from interceptors.keys.interceptor import API_KEY
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.engines import needs_pushback
from tests.support.retries import SERVICE, retry_options, retrying_stub

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer

HI = echo_pb2.EchoRequest(text="hi")
RETRIED = "solo60.example.v1.EchoService/Echo"
NOT_RETRIED = "solo60.example.v1.EchoService/EchoSheddable"


def raising_as_callee(echo: EchoServer, error: ServiceError, callee: str = "") -> None:
    """Make every handler raise `error`, as if a call of `callee` had raised it."""
    error.callee = callee

    async def hook() -> None:
        raise error

    echo.servicer.hook = hook


async def pushback_of(
    echo: EchoServer, timeout_s: float | None = None, metadata: tuple[tuple[str, str], ...] = ()
) -> str | bytes | None:
    """Call once without retries, and return the pushback of the error."""
    own = ((API_KEY, echo.key), *metadata)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await EchoServiceStub(echo.bare_channel()).Echo(HI, metadata=own, timeout=timeout_s)
    trailing = caught.value.trailing_metadata()
    assert trailing is not None
    return trailing.get(PUSHBACK_MS)


@needs_pushback
@pytest.mark.parametrize(("retry_after_s", "pushback"), [(1.5, "1500"), (0.0001, "1"), (0.0, "0"), (None, None)])
async def test_a_retry_delay_is_sent_as_pushback(
    echo: EchoServer, retry_after_s: float | None, pushback: str | None
) -> None:
    """The retry delay of an error is sent as pushback in whole milliseconds, rounded up."""
    raising_as_callee(echo, RateLimited(retry_after_s=retry_after_s))

    assert await pushback_of(echo) == pushback


@needs_pushback
async def test_a_retry_delay_beyond_the_deadline_forbids_retries(echo: EchoServer) -> None:
    """A retry delay beyond the deadline is sent as pushback -1, because gRPC's core would sleep until the deadline."""
    raising_as_callee(echo, Unavailable(retry_after_s=20))

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
async def test_an_error_that_a_nearer_hop_retried_is_not_retried(
    echo: EchoServer, error: ServiceError, callee: str, pushback: str | None
) -> None:
    """A callee's error that was already retried is sent with pushback -1, so that retries do not multiply over hops."""
    raising_as_callee(echo, error, callee)

    assert await pushback_of(echo) == pushback


@needs_pushback
async def test_an_error_raised_from_a_retried_error_is_not_retried(echo: EchoServer) -> None:
    """An error that a handler raises from a callee's retried error is sent with pushback -1 too."""
    lost = Unavailable()
    lost.callee = RETRIED

    async def hook() -> None:
        raise Unavailable("Nothing was booked.") from lost

    echo.servicer.hook = hook

    assert await pushback_of(echo) == "-1"


@needs_pushback
async def test_a_hedging_attempt_is_not_retried(echo: EchoServer) -> None:
    """An error of a second hedging attempt is sent with pushback -1, so that retries do not multiply hedges."""
    raising_as_callee(echo, Unavailable())

    assert await pushback_of(echo, metadata=((HEDGE_ATTEMPT, "1"),)) == "-1"


async def test_a_rejection_by_an_interceptor_names_the_callee() -> None:
    """An error of a client interceptor names the callee, like an error that the callee sent."""

    class RejectingInterceptor(ClientInterceptor):
        def start(self, call: ClientCall) -> None:
            raise CircuitOpen(f"{call.method.name} is resting.")

    async with ChainedChannel(grpc.aio.insecure_channel("127.0.0.1:1"), [RejectingInterceptor()]) as channel:
        with pytest.raises(CircuitOpen) as caught:
            await EchoServiceStub(channel).Echo(HI)

    assert caught.value.callee == RETRIED


@needs_pushback
async def test_the_core_waits_for_the_pushback(echo: EchoServer) -> None:
    """Before a retry, gRPC's core waits for the pushback instead of its own pause of some 50 ms."""
    arrivals: list[float] = []

    async def hook() -> None:
        arrivals.append(time.monotonic())
        if len(arrivals) == 1:
            raise Unavailable(retry_after_s=0.4)

    echo.servicer.hook = hook
    async with retrying_stub(echo) as stub:
        await stub.Echo(HI)

    assert arrivals[1] - arrivals[0] >= 0.4


@needs_pushback
async def test_a_pushback_beyond_the_deadline_fails_at_once(echo: EchoServer) -> None:
    """A call with a pushback beyond its deadline fails at once with the original error, not with DEADLINE_EXCEEDED."""
    raising_as_callee(echo, Unavailable("Not now.", retry_after_s=100))

    async with retrying_stub(echo) as stub:
        with pytest.raises(Unavailable, match="Not now"):
            await stub.Echo(HI, timeout=50)

    assert echo.servicer.entered == 1


async def test_the_core_sleeps_until_the_deadline_for_a_long_pushback() -> None:
    """If a pushback exceeds the deadline, gRPC's core sleeps until the deadline, so our server has to compare both."""

    async def push_back(_request: Any, context: Any) -> None:
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
