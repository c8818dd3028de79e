from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from contracts.errors import CircuitOpen, Internal, Overloaded
from interceptors.chain.call import Call
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.server import ServerChain, ServerInterceptor
from interceptors.metrics.interceptor import ClientMetrics, ServerMetrics
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.metrics.samples import ECHO, samples, total
from tests.interceptors.validation.test_validation import InvalidResponseServicer
from tests.support.call_shapes import HI, both_streams, client_stream, each_shape, raising, server_stream, unary
from tests.support.retries import call_with_one_retry

if TYPE_CHECKING:
    from interceptors.chain.call import Proceed
    from tests.support.call_shapes import Shape
    from tests.support.echo_server import EchoServer, ServeEcho

ALL = ("unary/Echo", "server_stream/EchoMany", "client_stream/EchoJoined", "bidi_stream/EchoEach")


@pytest.mark.requirement("S5")
@each_shape
async def test_a_successful_call_is_counted_on_both_sides(echo: EchoServer, call: Shape) -> None:
    """A successful call of any shape is counted as started and handled on both sides, and none is left in flight."""
    await call(echo.stub())
    await echo.stop()

    [(method,)] = samples(echo.registry, "grpc_server_started_total")
    assert method in ALL
    assert samples(echo.registry, "grpc_server_handled_total") == {("OK", "", "tester", method): 1}
    assert samples(echo.registry, "grpc_client_handled_total") == {("OK", "", method): 1}
    for side in ("server", "client"):
        assert samples(echo.registry, f"grpc_{side}_started_total") == {(method,): 1}
        assert samples(echo.registry, f"grpc_{side}_handling_seconds_count") == {(method,): 1}
        assert samples(echo.registry, f"grpc_{side}_in_flight") == {(method,): 0}


@pytest.mark.requirement("S5")
@each_shape
@pytest.mark.parametrize(
    ("error", "seen", "code", "reason"),
    [
        (Overloaded(), Overloaded, "ResourceExhausted", "OVERLOADED"),
        (ValueError("a secret"), Internal, "Internal", "INTERNAL"),
    ],
)
async def test_a_failed_call_is_counted_under_its_reason(
    echo: EchoServer, call: Shape, error: Exception, seen: type[Exception], code: str, reason: str
) -> None:
    """A failed call is counted with its code and reason on both sides. An unexpected exception counts as INTERNAL."""
    with pytest.raises(seen):
        await call(raising(echo, error))
    await echo.stop()

    assert {key[:3] for key in samples(echo.registry, "grpc_server_handled_total")} == {(code, reason, "tester")}
    assert {key[:2] for key in samples(echo.registry, "grpc_client_handled_total")} == {(code, reason)}
    assert total(echo.registry, "grpc_server_in_flight") == total(echo.registry, "grpc_client_in_flight") == 0


@pytest.mark.parametrize(
    ("call", "requests", "answers"),
    [(unary, 1, 1), (server_stream, 1, 2), (client_stream, 3, 1), (both_streams, 3, 3)],
)
async def test_every_message_is_counted_on_both_sides(
    echo: EchoServer, call: Shape, requests: int, answers: int
) -> None:
    """Sent and received messages of each shape are counted on both sides, as in go-grpc-prometheus."""
    await call(echo.stub())
    await echo.stop()

    for side, received, sent in (("server", requests, answers), ("client", answers, requests)):
        assert list(samples(echo.registry, f"grpc_{side}_msg_received_total").values()) == [received]
        assert list(samples(echo.registry, f"grpc_{side}_msg_sent_total").values()) == [sent]


async def test_messages_of_an_open_stream_are_counted(echo: EchoServer) -> None:
    """The messages of a stream are counted while the stream is open."""
    call = echo.stub().EchoEach()
    for number in (1, 2):
        await call.write(echo_pb2.EchoEachRequest(text="hi"))
        await call.read()
        for side in ("server", "client"):
            assert total(echo.registry, f"grpc_{side}_msg_received_total") == number
            assert total(echo.registry, f"grpc_{side}_msg_sent_total") == number
    assert total(echo.registry, "grpc_server_in_flight") == 1
    call.cancel()


async def test_an_invalid_answer_is_not_counted_as_sent(serve_echo: ServeEcho) -> None:
    """An invalid answer of a stream is not counted as sent, and the valid answer before it is."""
    echo = await serve_echo(InvalidResponseServicer())
    with pytest.raises(Internal):
        await server_stream(echo.stub())
    await echo.stop()

    assert total(echo.registry, "grpc_server_msg_sent_total") == 1
    assert total(echo.registry, "grpc_client_msg_received_total") == 1


async def test_a_failed_call_counts_no_answer(echo: EchoServer) -> None:
    """A failed call counts its request but no answer, as in go-grpc-prometheus."""
    with pytest.raises(Overloaded):
        await raising(echo, Overloaded()).Echo(HI)

    for side, received, sent in (("server", 1, 0), ("client", 0, 1)):
        assert total(echo.registry, f"grpc_{side}_msg_received_total") == received
        assert total(echo.registry, f"grpc_{side}_msg_sent_total") == sent


async def test_retries_are_counted_at_the_server(echo: EchoServer) -> None:
    """The server counts a retry of gRPC's core as a started call and as a retry (gRFC A6)."""
    await call_with_one_retry(echo)

    assert samples(echo.registry, "grpc_server_started_total") == {("unary/Echo",): 2}
    assert samples(echo.registry, "grpc_server_retried_total") == {("unary/Echo",): 1}


@pytest.mark.parametrize("attempts", ["", "0", "-1", "many", "9" * 5000])
def test_a_malformed_attempt_count_is_zero(attempts: str) -> None:
    """A grpc-previous-rpc-attempts header that is not a small positive number counts as 0."""
    call: Any = Call(ECHO, None, {"grpc-previous-rpc-attempts": attempts}, b"")  # type: ignore[arg-type]  # no call is made
    assert call.previous_attempts == 0


class RejectingInterceptor(ClientInterceptor):
    """Interceptor that rejects every call."""

    def start(self, call: ClientCall) -> None:
        raise CircuitOpen


@pytest.mark.requirement("S5")
async def test_a_call_rejected_by_the_client_is_counted_there(echo: EchoServer) -> None:
    """The client counts a call that an open breaker rejects as CIRCUIT_OPEN, and no server counts the call."""
    registry = CollectorRegistry()
    stub: Any = EchoServiceStub(echo._open([ClientMetrics(registry), RejectingInterceptor()]))

    with pytest.raises(CircuitOpen):
        await stub.Echo(HI)

    assert samples(registry, "grpc_client_handled_total") == {("Unavailable", "CIRCUIT_OPEN", "unary/Echo"): 1}
    assert total(registry, "grpc_client_in_flight") == 0
    assert total(echo.registry, "grpc_server_started_total") == 0


class SupersededKeyInterceptor(ServerInterceptor):
    """Interceptor that marks every call as made with a superseded key."""

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        call.context.caller, call.notes["superseded_key"] = "gym", "k1"
        return await proceed(call)


@pytest.mark.requirement("S2")
async def test_calls_with_a_superseded_key_are_counted() -> None:
    """Calls with a superseded key are counted by caller and not by key, so that an operator knows when to revoke it."""
    registry = CollectorRegistry()
    chain = [ServerMetrics(registry), SupersededKeyInterceptor()]

    async def handle(_call: Call) -> bytes:
        return b""

    call: Any = Call(ECHO, None, {}, b"")  # type: ignore[arg-type]  # these interceptors do not use the context
    await chain[0].intercept(call, lambda call: chain[1].intercept(call, handle))

    assert registry.get_sample_value("solo60_server_superseded_key_calls_total", {"caller": "gym"}) == 1


def test_chains_may_share_a_registry() -> None:
    """Several servers and channels may share one registry, which counts their calls together."""
    registry = CollectorRegistry()
    for _ in range(2):
        ServerChain([ServerMetrics(registry)])
        call = ClientCall(ECHO, [], None)
        finish = ClientMetrics(registry).start_of(call.method)(call)
        assert finish is not None
        finish(call, None)

    assert samples(registry, "grpc_client_handled_total") == {("OK", "", "unary/Echo"): 2}


def test_a_registry_can_be_freed() -> None:
    """The garbage collector frees a registry that only its own metrics refer to."""
    registry = CollectorRegistry()
    ServerMetrics(registry)
    gone = weakref.ref(registry)

    del registry
    gc.collect()

    assert gone() is None
