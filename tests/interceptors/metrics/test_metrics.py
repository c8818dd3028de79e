from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from contracts.errors import CircuitOpen, Internal, Overloaded, SlotTaken, Unauthenticated, UnknownError
from contracts.method import find_method
from interceptors.breaker.metrics import report_breakers
from interceptors.chain.call import Call
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.server import ServerChain, ServerInterceptor
from interceptors.metrics.interceptor import ClientMetrics, ServerMetrics
from interceptors.tracing.interceptor import ClientTracing
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.chain.test_cancellation import each_shape as each_call
from tests.interceptors.chain.test_cancellation import outcome, server_stream, unary, until_ended
from tests.interceptors.errors.test_errors import both_streams, client_stream, each_shape, raising
from tests.interceptors.errors.test_errors import server_stream as many_answers
from tests.interceptors.errors.test_errors import unary as one_each_way
from tests.interceptors.validation.test_validation import InvalidResponses
from tests.support.echo_server import Endless
from tests.support.retries import call_with_one_retry
from tests.support.span_count import SpanCount

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptors.chain.call import Proceed
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.interceptors.errors.test_errors import Shape
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
SERVICE = "solo60.example.v1.EchoService"
ECHO = find_method(f"/{SERVICE}/Echo")
ALL = ("unary/Echo", "server_stream/EchoMany", "client_stream/EchoJoined", "bidi_stream/EchoEach")


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by its labels. The three labels of the method are joined and come last."""
    found = (sample for family in registry.collect() for sample in family.samples if sample.name == name)
    return {(*_others(sample.labels), _method_of(sample.labels)): sample.value for sample in found}


def _others(labels: dict[str, str]) -> list[str]:
    return [value for label, value in labels.items() if label not in ("grpc_type", "grpc_service", "grpc_method")]


def _method_of(labels: dict[str, str]) -> str:
    return f"{labels['grpc_type']}/{labels['grpc_method']}"


def total(registry: CollectorRegistry, name: str) -> float:
    """Return the sum of a metric over all labels."""
    return sum(samples(registry, name).values())


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


# Names that grpc-go's `codes.Code.String()` returns. go-grpc-prometheus uses them as labels.
GO_CODES = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
]


@pytest.mark.parametrize("status", grpc.StatusCode)
def test_codes_are_labelled_as_in_go_grpc_prometheus(status: grpc.StatusCode) -> None:
    """Every status code has the label of go-grpc-prometheus, so that its dashboards and alerts work."""
    registry = CollectorRegistry()
    call = ClientCall(ECHO, [], None)

    error = None if status is grpc.StatusCode.OK else UnknownError(status)
    ClientMetrics(registry).start(call)(error)

    assert list(samples(registry, "grpc_client_handled_total")) == [(GO_CODES[status.value[0]], "", "unary/Echo")]


@pytest.mark.parametrize(
    ("call", "requests", "answers"),
    [(one_each_way, 1, 1), (many_answers, 1, 2), (client_stream, 3, 1), (both_streams, 3, 3)],
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
    echo = await serve_echo(InvalidResponses())  # type: ignore[abstract]  # Promise is not implemented
    with pytest.raises(Internal):
        await many_answers(echo.stub())
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


@pytest.mark.requirement("S5")
async def test_a_caller_without_a_valid_key_has_no_label(echo: EchoServer) -> None:
    """A call with an invalid key is counted with an empty caller, so that strangers cannot make up label values."""
    with pytest.raises(Unauthenticated):
        await echo.stub("sk_test_of_nobody").Echo(HI)

    assert samples(echo.registry, "grpc_server_handled_total") == {
        ("Unauthenticated", "UNAUTHENTICATED", "", "unary/Echo"): 1
    }


@pytest.mark.requirement("S5")
async def test_an_undeclared_reason_is_no_label(echo: EchoServer) -> None:
    """A reason that the method does not declare is counted as INTERNAL, so that the number of labels is bounded."""
    with pytest.raises(SlotTaken):
        await raising(echo, SlotTaken()).Echo(HI)
    with pytest.raises(Internal):  # EchoMany does not declare SLOT_TAKEN
        await raising(echo, SlotTaken()).EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=1)).read()
    await echo.stop()

    reasons = {key[1] for key in samples(echo.registry, "grpc_server_handled_total")}
    assert reasons == {"SLOT_TAKEN", "INTERNAL"}


async def test_health_checks_are_not_counted(echo: EchoServer) -> None:
    """Health checks are not counted as calls."""
    stub: Any = HealthStub(echo.bare_channel())
    await stub.Check(health_pb2.HealthCheckRequest())

    assert total(echo.registry, "grpc_server_started_total") == 0


@pytest.mark.requirement("S5")
async def test_an_unserved_method_is_not_counted(echo: EchoServer) -> None:
    """Calls to unserved methods are not counted, so that strangers cannot make up label values."""
    call: Any = echo.bare_channel().unary_unary("/no.Such/Method")
    with pytest.raises(Exception, match="UNIMPLEMENTED"):
        await call(b"")

    assert samples(echo.registry, "grpc_server_started_total") == {}


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


class Rejecting(ClientInterceptor):
    """Interceptor that rejects every call."""

    def start(self, call: ClientCall) -> None:
        raise CircuitOpen


@pytest.mark.requirement("S5")
async def test_a_call_rejected_by_the_client_is_counted_there(echo: EchoServer) -> None:
    """The client counts a call that an open breaker rejects as CIRCUIT_OPEN, and no server counts the call."""
    registry = CollectorRegistry()
    stub: Any = EchoServiceStub(echo._open([ClientMetrics(registry), Rejecting()]))

    with pytest.raises(CircuitOpen):
        await stub.Echo(HI)

    assert samples(registry, "grpc_client_handled_total") == {("Unavailable", "CIRCUIT_OPEN", "unary/Echo"): 1}
    assert total(registry, "grpc_client_in_flight") == 0
    assert total(echo.registry, "grpc_server_started_total") == 0


def exemplars(registry: CollectorRegistry, name: str) -> list[dict[str, str]]:
    """Return the exemplars of a metric in a scrape."""
    text = generate_latest(registry).decode()  # type: ignore[no-untyped-call]  # prometheus-client has no types here
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # as above
    return [
        sample.exemplar.labels
        for family in families
        for sample in family.samples
        if sample.exemplar and family.name == name
    ]


@pytest.mark.requirement("S5")
async def test_a_duration_has_an_exemplar(echo: EchoServer) -> None:
    """The durations of both sides have the trace id of the call as exemplar."""
    await echo.stub().Echo(HI)
    await echo.stop()

    trace_ids = [f"{span.context.trace_id:032x}" for span in echo.spans() if span.context]
    for side in ("server", "client"):
        assert exemplars(echo.registry, f"grpc_{side}_handling_seconds") == [{"trace_id": trace_ids[0]}]


@pytest.mark.requirement("S5")
async def test_an_unrecorded_trace_is_no_exemplar(echo: EchoServer) -> None:
    """A call without a recorded trace has no exemplar, because the id would lead nowhere."""
    registry, off = CollectorRegistry(), TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    clients = [ClientTracing(off), ClientMetrics(registry), *echo._client_interceptors(echo.key)[2:]]
    await EchoServiceStub(echo._open(clients)).Echo(HI)
    await echo.stop()

    assert total(echo.registry, "grpc_server_started_total") == 1
    assert exemplars(echo.registry, "grpc_server_handling_seconds") == []
    assert exemplars(registry, "grpc_client_handling_seconds") == []


class SupersededKey(ServerInterceptor):
    """Interceptor that marks every call as made with a superseded key."""

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        call.context.caller, call.notes["superseded_key"] = "gym", "k1"
        return await proceed(call)


@pytest.mark.requirement("S2")
async def test_calls_with_a_superseded_key_are_counted() -> None:
    """Calls with a superseded key are counted by caller and not by key, so that an operator knows when to revoke it."""
    registry = CollectorRegistry()
    chain = [ServerMetrics(registry), SupersededKey()]

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
        ClientMetrics(registry).start(call)(None)

    assert samples(registry, "grpc_client_handled_total") == {("OK", "", "unary/Echo"): 2}


def test_a_registry_can_be_freed() -> None:
    """The metrics of a registry do not keep it alive."""
    import weakref  # noqa: PLC0415 - only this test needs it

    registry = CollectorRegistry()
    ServerMetrics(registry)
    gone = weakref.ref(registry)

    del registry
    gc.collect()

    assert gone() is None


@each_call
async def test_a_cancelled_call_is_no_longer_in_flight(
    echo: EchoServer, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """A cancelled call of any shape is counted as cancelled on both sides and is no longer in flight."""
    hook = echo.servicer.hook = Endless()  # type: ignore[method-assign]  # tests set the hook
    call = begin(echo.stub())
    waiting = asyncio.create_task(outcome(call))
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


@pytest.mark.parametrize("begin", [unary, server_stream])
async def test_a_thousand_cancelled_calls_are_all_handled(
    echo: EchoServer, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """After 1,000 cancelled calls none is in flight, every started call is handled, and every span has ended."""
    count = SpanCount()
    echo.tracers.add_span_processor(count)
    before = asyncio.all_tasks()
    stub = echo.stub()
    hook = echo.servicer.hook = Endless()  # type: ignore[method-assign]  # tests set the hook
    calls = [begin(stub) for _ in range(1000)]
    waiting = asyncio.gather(*map(outcome, calls), return_exceptions=True)
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


class Breakers:
    """Stand-in for breakers with states that a test sets."""

    def __init__(self, **states: str) -> None:
        self._states: dict[str, str] = {}
        self.set(**states)

    def set(self, **states: str) -> None:
        """Set the states of methods."""
        self._states.update({f"{SERVICE}/{name}": state for name, state in states.items()})

    def states(self) -> dict[str, str]:
        """Return the states."""
        return self._states


@pytest.mark.requirement("S5")
def test_breaker_states_are_read_at_each_scrape() -> None:
    """A scrape shows the worst current state of a method's breakers: 0 closed, 1 half-open, 2 open."""
    registry = CollectorRegistry()
    ours, others = Breakers(Echo="closed", Keep="half-open"), Breakers(Echo="open")
    report_breakers(ours, registry)
    report_breakers(others, registry)
    assert samples_of_breakers(registry) == {"Echo": 2, "Keep": 1}

    ours.set(Keep="closed")
    others.set(Echo="half-open")
    assert samples_of_breakers(registry) == {"Echo": 1, "Keep": 0}

    del others
    gc.collect()
    assert samples_of_breakers(registry) == {"Echo": 0, "Keep": 0}


def samples_of_breakers(registry: CollectorRegistry) -> dict[str, float]:
    """Return the state of each method's breaker as a number."""
    [family] = [family for family in registry.collect() if family.name == "grpc_client_breaker_state"]
    return {sample.labels["grpc_method"]: sample.value for sample in family.samples}
