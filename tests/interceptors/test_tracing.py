from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from contracts.errors import DeadlineExceeded, Internal, SlotTaken, Unauthenticated
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceServicer, EchoServiceStub, add_EchoServiceServicer_to_server
from tests.interceptors.test_errors import each_shape, raising
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.interceptors.test_errors import Shape
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
SECRET = "postgres://user:hunter2@db"  # noqa: S105 - what must not leak
# What only the one connection has.
EPHEMERAL = {"net.peer.port"}


def id_of(span: ReadableSpan) -> int:
    """Return the id of a span."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_of(span: ReadableSpan) -> int:
    """Return the trace that a span is part of."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


async def ended_spans(echo: EchoServer) -> tuple[ReadableSpan, ReadableSpan]:
    """Close the server, so that no call is under way; return the one span of each side."""
    await echo.stop()
    client, server = echo.spans()
    assert (client.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    return client, server


async def test_the_servers_span_is_the_child_of_the_callers(echo: EchoServer) -> None:
    """S5: one trace over both sides, which names the correlation id and the caller."""
    answer = await echo.stub().Echo(HI)

    client, server = await ended_spans(echo)

    assert client.parent is None
    assert server.parent is not None
    assert (server.parent.span_id, trace_of(server)) == (id_of(client), trace_of(client))
    assert (client.status.status_code, server.status.status_code) == (StatusCode.UNSET, StatusCode.UNSET)
    assert _attributes(server)["solo60.correlation_id"] == answer.correlation_id
    assert _attributes(server)["solo60.caller"] == "tester"


async def test_two_hops_make_one_trace(serve_echo: ServeEcho) -> None:
    """S5: a call made while a call is served goes on with its trace."""
    front, back = await serve_echo(), await serve_echo()
    stub = back.stub()

    async def hook() -> None:
        await stub.Echo(HI)

    front.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    await front.stub().Echo(HI)
    await front.stop()
    await back.stop()

    chain = sorted([*front.spans(), *back.spans()], key=lambda span: span.start_time or 0)
    assert [span.kind for span in chain] == [SpanKind.CLIENT, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.SERVER]
    assert [span.parent.span_id if span.parent else None for span in chain] == [None, *map(id_of, chain[:-1])]


@each_shape
async def test_a_refused_call_is_an_error_on_both_sides(echo: EchoServer, call: Shape) -> None:
    """S5: with code and reason, in every shape, and each span ends exactly once."""
    stub = raising(echo, DeadlineExceeded("Too late."))

    with pytest.raises(DeadlineExceeded):
        await call(stub)

    for span in await ended_spans(echo):
        assert span.status.status_code is StatusCode.ERROR
        assert _attributes(span)["rpc.grpc.status_code"] == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert _attributes(span)["error.type"] == "DEADLINE_EXCEEDED"


async def test_a_refusal_that_is_the_callers_own_fault_is_none_of_the_server(echo: EchoServer) -> None:
    """As OpenTelemetry has it: for the server a domain error is an answer; for the caller it is an error."""
    with pytest.raises(SlotTaken):
        await raising(echo, SlotTaken()).Echo(HI)

    client, server = await ended_spans(echo)

    assert (client.status.status_code, server.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert _attributes(server)["error.type"] == _attributes(client)["error.type"] == "SLOT_TAKEN"


@each_shape
async def test_no_text_of_an_exception_is_in_a_span(echo: EchoServer, call: Shape) -> None:
    """S4: spans leave the service; what went wrong inside stays in its log."""
    with pytest.raises(Internal):
        await call(raising(echo, ValueError(SECRET)))

    for span in await ended_spans(echo):
        assert span.status.status_code is StatusCode.ERROR
        assert SECRET not in span.to_json()
        assert not span.events


async def test_the_callers_deadline_is_an_error_on_both_sides(echo: EchoServer) -> None:
    """S5: the package's own interceptors leave such spans without a status."""
    hook = Endless()
    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for

    with pytest.raises(DeadlineExceeded):
        await echo.stub().Echo(HI, timeout=0.1)
    await hook.cancelled.wait()

    for span in await ended_spans(echo):
        assert span.status.status_code is StatusCode.ERROR
        assert _attributes(span)["error.type"] == "DEADLINE_EXCEEDED"


async def test_a_call_that_is_refused_before_it_is_sent_has_a_span_of_its_caller(serve_echo: ServeEcho) -> None:
    """S5: who is refused for its key sees it in the trace as well."""
    echo = await serve_echo()
    with pytest.raises(Unauthenticated):
        await echo.stub("sk_test_wrong").Echo(HI)

    client, server = await ended_spans(echo)

    assert _attributes(client)["error.type"] == _attributes(server)["error.type"] == "UNAUTHENTICATED"
    assert _attributes(server)["solo60.caller"] == ""


async def test_health_checks_leave_no_span(echo: EchoServer) -> None:
    """They come every second and would drown all else."""
    stub: Any = HealthStub(echo.bare_channel())
    await stub.Check(health_pb2.HealthCheckRequest())
    await echo.stop()

    assert echo.spans() == []


class Plain(EchoServiceServicer):
    """A servicer without a mesh."""

    async def Echo(self, request: Any, context: Any) -> echo_pb2.EchoResponse:  # noqa: ANN401, ARG002, N802 - as generated
        """Say it back."""
        return echo_pb2.EchoResponse(text=request.text)

    async def Promise(self, request: Any, context: Any) -> echo_pb2.PromiseResponse:  # noqa: ANN401, N802 - as generated
        """Refuse it."""
        raise NotImplementedError


async def spans_of_the_package() -> list[ReadableSpan]:
    """Call Echo over a server and a channel with the interceptors of opentelemetry-instrumentation-grpc alone."""
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    server = grpc.aio.server(interceptors=[aio_server_interceptor(tracer_provider=tracers)])
    servicer: Any = Plain()  # type: ignore[abstract]  # one method will do
    add_EchoServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    interceptors = aio_client_interceptors(tracer_provider=tracers)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
        await EchoServiceStub(channel).Echo(HI)
    await server.stop(0)
    return sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)


async def test_spans_are_those_that_users_of_the_package_know(echo: EchoServer) -> None:
    """S5: name, kind, parent and attributes of a call that goes well are the same; ours say more, never less."""
    await echo.stub().Echo(HI)

    ours, theirs = await ended_spans(echo), await spans_of_the_package()

    assert len(theirs) == 2
    for our, their in zip(ours, theirs, strict=True):
        assert (our.name, our.kind, our.status.status_code) == (their.name, their.kind, their.status.status_code)
        known = {key: value for key, value in _attributes(our).items() if not key.startswith("solo60.")}
        assert known.keys() == _attributes(their).keys()
        assert {key for key in known if known[key] != _attributes(their)[key]} <= EPHEMERAL
    assert [span.parent is None for span in ours] == [span.parent is None for span in theirs] == [True, False]


def _attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}
