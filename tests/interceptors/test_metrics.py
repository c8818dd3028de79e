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
from interceptors.breaker_metrics import show_breakers
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.metrics import ClientMetrics, ServerMetrics
from interceptors.server import Call, ServerChain, ServerInterceptor
from interceptors.tracing import ClientTracing
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.test_cancellation import each_shape as each_call
from tests.interceptors.test_cancellation import outcome, server_stream, unary, until_ended
from tests.interceptors.test_errors import both_streams, client_stream, each_shape, raising
from tests.interceptors.test_errors import server_stream as many_answers
from tests.interceptors.test_errors import unary as one_each_way
from tests.interceptors.test_validation import Breaking
from tests.support.echo_server import Endless
from tests.support.retries import retried_once
from tests.support.span_count import SpanCount

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptors.server import Proceed
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.interceptors.test_errors import Shape
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
SERVICE = "solo60.example.v1.EchoService"
ECHO = find_method(f"/{SERVICE}/Echo")
ALL = ("unary/Echo", "server_stream/EchoMany", "client_stream/EchoJoined", "bidi_stream/EchoEach")


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return what a registry has of `name`: the values of all labels but the method's own, and the number."""
    found = (sample for family in registry.collect() for sample in family.samples if sample.name == name)
    return {(*_others(sample.labels), _method_of(sample.labels)): sample.value for sample in found}


def _others(labels: dict[str, str]) -> list[str]:
    return [value for label, value in labels.items() if label not in ("grpc_type", "grpc_service", "grpc_method")]


def _method_of(labels: dict[str, str]) -> str:
    return f"{labels['grpc_type']}/{labels['grpc_method']}"


def total(registry: CollectorRegistry, name: str) -> float:
    """Return the sum over all labels."""
    return sum(samples(registry, name).values())


@pytest.mark.requirement("S5")
@each_shape
async def test_a_good_call_is_counted_on_both_sides(echo: EchoServer, call: Shape) -> None:
    """Begun, ended well and for whom, how long, and nothing under way, in every shape."""
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
    """What was shed can be told from what is broken; an exception that nobody foresaw is INTERNAL."""
    with pytest.raises(seen):
        await call(raising(echo, error))
    await echo.stop()

    assert {key[:3] for key in samples(echo.registry, "grpc_server_handled_total")} == {(code, reason, "tester")}
    assert {key[:2] for key in samples(echo.registry, "grpc_client_handled_total")} == {(code, reason)}
    assert total(echo.registry, "grpc_server_in_flight") == total(echo.registry, "grpc_client_in_flight") == 0


# As `codes.Code.String()` of grpc-go returns them, whose result go-grpc-prometheus takes for its label.
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
def test_every_code_is_labelled_as_go_grpc_prometheus_labels_it(status: grpc.StatusCode) -> None:
    """Dashboards and alerts made for go-grpc-prometheus find the code that they look for."""
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
    """As go-grpc-prometheus counts: what one side sends the other receives, in every shape."""
    await call(echo.stub())
    await echo.stop()

    for side, received, sent in (("server", requests, answers), ("client", answers, requests)):
        assert list(samples(echo.registry, f"grpc_{side}_msg_received_total").values()) == [received]
        assert list(samples(echo.registry, f"grpc_{side}_msg_sent_total").values()) == [sent]


async def test_messages_that_are_written_and_read_one_by_one_are_counted(echo: EchoServer) -> None:
    """A stream that is still open shows the messages that have passed."""
    call = echo.stub().EchoEach()
    for number in (1, 2):
        await call.write(echo_pb2.EchoEachRequest(text="hi"))
        await call.read()
        for side in ("server", "client"):
            assert total(echo.registry, f"grpc_{side}_msg_received_total") == number
            assert total(echo.registry, f"grpc_{side}_msg_sent_total") == number
    assert total(echo.registry, "grpc_server_in_flight") == 1
    call.cancel()


async def test_an_answer_that_breaks_its_rules_is_not_counted_as_sent(serve_echo: ServeEcho) -> None:
    """Of two answers of a stream the first is good and the second never leaves."""
    echo = await serve_echo(Breaking())  # type: ignore[abstract]  # Promise is but promised
    with pytest.raises(Internal):
        await many_answers(echo.stub())
    await echo.stop()

    assert total(echo.registry, "grpc_server_msg_sent_total") == 1
    assert total(echo.registry, "grpc_client_msg_received_total") == 1


async def test_a_failed_call_has_sent_no_answer(echo: EchoServer) -> None:
    """As with go-grpc-prometheus, its request counts and an answer does not."""
    with pytest.raises(Overloaded):
        await raising(echo, Overloaded()).Echo(HI)

    for side, received, sent in (("server", 1, 0), ("client", 0, 1)):
        assert total(echo.registry, f"grpc_{side}_msg_received_total") == received
        assert total(echo.registry, f"grpc_{side}_msg_sent_total") == sent


@pytest.mark.requirement("S5")
async def test_a_caller_without_a_good_key_has_no_name(echo: EchoServer) -> None:
    """No stranger can make up label values: a caller is named when its key has been verified."""
    with pytest.raises(Unauthenticated):
        await echo.stub("sk_test_of_nobody").Echo(HI)

    assert samples(echo.registry, "grpc_server_handled_total") == {
        ("Unauthenticated", "UNAUTHENTICATED", "", "unary/Echo"): 1
    }


@pytest.mark.requirement("S5")
async def test_a_reason_that_the_contract_does_not_know_is_no_label(echo: EchoServer) -> None:
    """Labels have few values: the contract's reasons."""
    with pytest.raises(SlotTaken):
        await raising(echo, SlotTaken()).Echo(HI)
    with pytest.raises(Internal):  # EchoMany's contract does not list it
        await raising(echo, SlotTaken()).EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=1)).read()
    await echo.stop()

    reasons = {key[1] for key in samples(echo.registry, "grpc_server_handled_total")}
    assert reasons == {"SLOT_TAKEN", "INTERNAL"}


async def test_health_checks_are_not_counted(echo: EchoServer) -> None:
    """They come every second and say nothing of the work."""
    stub: Any = HealthStub(echo.bare_channel())
    await stub.Check(health_pb2.HealthCheckRequest())

    assert total(echo.registry, "grpc_server_started_total") == 0


@pytest.mark.requirement("S5")
async def test_a_method_that_is_not_served_is_not_counted(echo: EchoServer) -> None:
    """The names that strangers call make no labels."""
    call: Any = echo.bare_channel().unary_unary("/no.Such/Method")
    with pytest.raises(Exception, match="UNIMPLEMENTED"):
        await call(b"")

    assert samples(echo.registry, "grpc_server_started_total") == {}


async def test_retries_are_counted_where_they_arrive(echo: EchoServer) -> None:
    """Of two attempts by gRPC's core, one is a retry (gRFC A6)."""
    await retried_once(echo)

    assert samples(echo.registry, "grpc_server_started_total") == {("unary/Echo",): 2}
    assert samples(echo.registry, "grpc_server_retried_total") == {("unary/Echo",): 1}


@pytest.mark.parametrize("attempts", ["", "0", "-1", "many", "9" * 5000])
def test_nobody_can_make_up_a_retry(attempts: str) -> None:
    """The header is the caller's word: what is no small number counts as none."""
    call: Any = Call(ECHO, None, {"grpc-previous-rpc-attempts": attempts}, b"")  # type: ignore[arg-type]  # no call is made
    assert call.previous_attempts == 0


class Refusing(ClientInterceptor):
    """Sends nothing."""

    def start(self, call: ClientCall) -> None:  # noqa: ARG002 - as the chain has it
        raise CircuitOpen


@pytest.mark.requirement("S5")
async def test_what_is_refused_at_the_client_is_counted_there(echo: EchoServer) -> None:
    """A call that an open breaker keeps back has a reason of its own, and no server saw it."""
    registry = CollectorRegistry()
    stub: Any = EchoServiceStub(echo._open([ClientMetrics(registry), Refusing()]))

    with pytest.raises(CircuitOpen):
        await stub.Echo(HI)

    assert samples(registry, "grpc_client_handled_total") == {("Unavailable", "CIRCUIT_OPEN", "unary/Echo"): 1}
    assert total(registry, "grpc_client_in_flight") == 0
    assert total(echo.registry, "grpc_server_started_total") == 0


def exemplars(registry: CollectorRegistry, name: str) -> list[dict[str, str]]:
    """Return the exemplars that a scrape shows of a metric."""
    text = generate_latest(registry).decode()  # type: ignore[no-untyped-call]  # prometheus-client has no types here
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # likewise
    return [
        sample.exemplar.labels
        for family in families
        for sample in family.samples
        if sample.exemplar and family.name == name
    ]


@pytest.mark.requirement("S5")
async def test_a_duration_leads_to_a_trace(echo: EchoServer) -> None:
    """From a slow bucket to one trace that shows why, on both sides."""
    await echo.stub().Echo(HI)
    await echo.stop()

    trace_ids = [f"{span.context.trace_id:032x}" for span in echo.spans() if span.context]
    for side in ("server", "client"):
        assert exemplars(echo.registry, f"grpc_{side}_handling_seconds") == [{"trace_id": trace_ids[0]}]


@pytest.mark.requirement("S5")
async def test_a_trace_that_nobody_recorded_is_no_exemplar(echo: EchoServer) -> None:
    """An exemplar that leads nowhere would be worse than none."""
    registry, off = CollectorRegistry(), TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    clients = [ClientTracing(off), ClientMetrics(registry), *echo._client_interceptors(echo.key)[2:]]
    await EchoServiceStub(echo._open(clients)).Echo(HI)
    await echo.stop()

    assert total(echo.registry, "grpc_server_started_total") == 1
    assert exemplars(echo.registry, "grpc_server_handling_seconds") == []
    assert exemplars(registry, "grpc_client_handling_seconds") == []


class Noting(ServerInterceptor):
    """Notes what the API key's interceptor notes of a call whose key has a successor."""

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        call.caller, call.notes["superseded_key"] = "gym", "k1"
        return await proceed(call)


@pytest.mark.requirement("S2")
async def test_who_still_uses_an_old_key_is_counted() -> None:
    """Before a key is revoked it can be seen whether anybody calls with it; the key's id is no label."""
    registry = CollectorRegistry()
    chain = [ServerMetrics(registry), Noting()]

    async def handle(_call: Call) -> bytes:
        return b""

    call: Any = Call(ECHO, None, {}, b"")  # type: ignore[arg-type]  # nothing here asks for it
    await chain[0].intercept(call, lambda call: chain[1].intercept(call, handle))

    assert registry.get_sample_value("solo60_server_superseded_key_calls_total", {"caller": "gym"}) == 1


def test_chains_may_share_a_registry() -> None:
    """A process may have many servers and channels; together they are counted once."""
    registry = CollectorRegistry()
    for _ in range(2):
        ServerChain([ServerMetrics(registry)])
        call = ClientCall(ECHO, [], None)
        ClientMetrics(registry).start(call)(None)

    assert samples(registry, "grpc_client_handled_total") == {("OK", "", "unary/Echo"): 2}


def test_a_registry_can_be_forgotten() -> None:
    """What is counted lives as long as its registry."""
    import weakref  # noqa: PLC0415 - for this test alone

    registry = CollectorRegistry()
    ServerMetrics(registry)
    gone = weakref.ref(registry)

    del registry
    gc.collect()

    assert gone() is None


@each_call
async def test_a_cancelled_call_is_not_under_way_any_more(
    echo: EchoServer, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """Whichever shape it had; it is counted as cancelled."""
    hook = echo.servicer.hook = Endless()  # type: ignore[method-assign]  # what the hook is for
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
async def test_a_thousand_cancelled_calls_leave_nothing_behind(
    echo: EchoServer, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """None counts as under way for ever, and every span that has begun has ended."""
    count = SpanCount()
    echo.tracers.add_span_processor(count)
    before = asyncio.all_tasks()
    stub = echo.stub()
    hook = echo.servicer.hook = Endless()  # type: ignore[method-assign]  # what the hook is for
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
    """Breakers whose states a test sets."""

    def __init__(self, **states: str) -> None:
        self._states: dict[str, str] = {}
        self.set(**states)

    def set(self, **states: str) -> None:
        """Change the states of methods."""
        self._states.update({f"{SERVICE}/{name}": state for name, state in states.items()})

    def states(self) -> dict[str, str]:
        """Return them."""
        return self._states


@pytest.mark.requirement("S5")
def test_the_states_of_breakers_are_read_when_asked_for() -> None:
    """0 closed, 1 half open, 2 open; of two clients' breakers for one method the worse counts."""
    registry = CollectorRegistry()
    ours, others = Breakers(Echo="closed", Keep="half-open"), Breakers(Echo="open")
    show_breakers(ours, registry)
    show_breakers(others, registry)
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
