"""Parity of our spans with those of opentelemetry-instrumentation-grpc, where that package is correct."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from interceptors.chain.channel import ChainedChannel
from interceptors.chain.server import ServerChain
from interceptors.tracing.interceptor import ClientTracing, ServerTracing
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceServicer, EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.call_shapes import each_shape
from tests.support.echo_server import OUT_OF_TIME_S
from tests.support.span_count import SpanCount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.call_shapes import Shape

    Connect = Callable[[TracerProvider, str], grpc.aio.Channel]

HI = echo_pb2.EchoRequest(text="hi")
SECRET = "postgres://user:hunter2@db"  # noqa: S105 - must not leak
# Attributes that differ between connections.
OF_ONE_CONNECTION = {"net.peer.port"}
# Attributes that we add: the current names, and our own. The package's `rpc.method` is "Echo", ours is the full name,
# like the span's name, as the current conventions define.
OURS = (
    "rpc.system.name",
    "rpc.method",
    "rpc.status_code",
    "network.peer.address",
    "network.peer.port",
    "user_agent.original",
    "solo60.correlation_id",
    "solo60.caller",
)


class PlainServicer(EchoServiceServicer):
    """Servicer without a mesh. The text "crash" makes it fail, and "wait" makes it wait until it is cancelled."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.was_out_of_time = False

    async def Echo(self, request: Any, context: Any) -> echo_pb2.EchoResponse:
        """Return the text."""
        if request.text == "crash":
            raise ValueError(SECRET)
        if request.text == "wait":
            self.entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.was_out_of_time = (context.time_remaining() or 0.0) <= OUT_OF_TIME_S
                self.cancelled.set()
        return echo_pb2.EchoResponse(text=request.text)

    async def EchoMany(self, request: Any, context: Any) -> AsyncIterator[echo_pb2.EchoManyResponse]:
        """Return the text twice."""
        for _ in range(2):
            yield echo_pb2.EchoManyResponse(text=request.text)

    async def EchoJoined(self, request_iterator: Any, context: Any) -> echo_pb2.EchoJoinedResponse:
        """Return all texts at once."""
        return echo_pb2.EchoJoinedResponse(text=" ".join([each.text async for each in request_iterator]))

    async def EchoEach(self, request_iterator: Any, context: Any) -> AsyncIterator[echo_pb2.EchoEachResponse]:
        """Return each text."""
        async for each in request_iterator:
            yield echo_pb2.EchoEachResponse(text=each.text)


class WritingServicer(PlainServicer):
    """Servicer that writes its answers instead of yielding them."""

    async def EchoEach(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        """Write each text."""
        async for each in request_iterator:
            await context.write(echo_pb2.EchoEachResponse(text=each.text))


class TracedService:
    """Server and channel with our interceptors or those of the package, and their spans."""

    def __init__(self, server: Callable[[TracerProvider], Any], connect: Connect) -> None:
        self.servicer: Any = PlainServicer()  # type: ignore[abstract]  # the methods that these tests call
        self.count = SpanCount()
        self._exporter = InMemorySpanExporter()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        tracers.add_span_processor(self.count)
        self._server = server(tracers)
        self._connect = partial(connect, tracers)

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[EchoServiceAsyncStub]:
        """Serve and connect for the duration of the context, after which no call is in flight."""
        server = grpc.aio.server(interceptors=[self._server])
        add_EchoServiceServicer_to_server(self.servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with self._connect(f"127.0.0.1:{port}") as channel:
            yield EchoServiceStub(channel)
        await server.stop(0)

    def spans(self) -> Sequence[ReadableSpan]:
        """Return the ended spans, first the client's, then the server's."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.kind is SpanKind.SERVER)


def our_tracing() -> TracedService:
    """Return a server and channel with our tracing."""
    return TracedService(
        lambda tracers: ServerChain([ServerTracing(tracers, old_names_too=True)]),
        lambda tracers, address: ChainedChannel(
            grpc.aio.insecure_channel(address), [ClientTracing(tracers, old_names_too=True)]
        ),
    )


def their_tracing() -> TracedService:
    """Return a server and channel with the package's tracing."""
    return TracedService(
        lambda tracers: aio_server_interceptor(tracer_provider=tracers),
        lambda tracers, address: grpc.aio.insecure_channel(
            address, interceptors=aio_client_interceptors(tracer_provider=tracers)
        ),
    )


@pytest.mark.requirement("S5")
@each_shape
async def test_a_successful_call_has_the_spans_of_the_package(call: Shape) -> None:
    """With both sets of names, our spans have the kind, status, parent and attributes of the package's spans.

    Our spans only add attributes. `rpc.method` and the span's name follow the current conventions.
    """
    ours, theirs = our_tracing(), their_tracing()
    for traced in (ours, theirs):
        async with traced.stub() as stub:
            await call(stub)

    assert len(ours.spans()) == len(theirs.spans()) == 2
    for our, their in zip(ours.spans(), theirs.spans(), strict=True):
        assert (f"/{our.name}", our.kind, our.status.status_code) == (their.name, their.kind, their.status.status_code)
        assert (
            attributes_of(our)["rpc.method"]
            == f"{attributes_of(their)['rpc.service']}/{attributes_of(their)['rpc.method']}"
        )
        assert {key: value for key, value in attributes_of(our).items() if key not in OURS} == without_method(their)
        assert set(attributes_of(our)) - set(attributes_of(their)) <= set(OURS)
    for client, server in (ours.spans(), theirs.spans()):
        assert client.parent is None
        assert (server.parent and server.parent.span_id) == (client.context and client.context.span_id)


async def test_the_package_reports_no_error_for_a_failed_handler() -> None:
    """For a failed handler, the package sets no error status but includes the exception's text.

    Our span is an error without that text.
    """
    ours, theirs = our_tracing(), their_tracing()
    for traced in (ours, theirs):
        async with traced.stub() as stub:
            with suppress(Exception):
                await stub.Echo(echo_pb2.EchoRequest(text="crash"))

    (_, our), (_, their) = ours.spans(), theirs.spans()
    assert (their.status.status_code, attributes_of(their)["rpc.grpc.status_code"]) == (StatusCode.UNSET, 0)
    assert SECRET in their.to_json()
    assert (our.status.status_code, attributes_of(our)["rpc.grpc.status_code"]) == (StatusCode.ERROR, 13)
    assert SECRET not in "".join(span.to_json() for span in ours.spans())


async def test_the_package_reports_no_error_for_an_expired_call() -> None:
    """For an expired call, the package's server span has no status and code 0. Our span is an error with code 4."""
    ours, theirs = our_tracing(), their_tracing()
    for traced in (ours, theirs):
        async with traced.stub() as stub:
            # If a call arrives late, its caller's deadline expires first, and the server sees a cancelled call.
            while not traced.servicer.was_out_of_time:
                traced.servicer.entered.clear()
                traced.servicer.cancelled.clear()
                with suppress(Exception):
                    await stub.Echo(echo_pb2.EchoRequest(text="wait"), timeout=0.5)
                if traced.servicer.entered.is_set():
                    await traced.servicer.cancelled.wait()

    our, their = ours.spans()[-1], theirs.spans()[-1]
    assert (our.kind, their.kind) == (SpanKind.SERVER, SpanKind.SERVER)
    assert (their.status.status_code, attributes_of(their)["rpc.grpc.status_code"]) == (StatusCode.UNSET, 0)
    assert (our.status.status_code, attributes_of(our)["rpc.grpc.status_code"]) == (StatusCode.ERROR, 4)


async def test_the_package_never_ends_the_span_of_a_cancelled_call() -> None:
    """The package never ends the client span of a cancelled call. Our span ends as an error."""
    ours, theirs = our_tracing(), their_tracing()
    for traced in (ours, theirs):
        async with traced.stub() as stub:
            call: Any = stub.Echo(echo_pb2.EchoRequest(text="wait"))
            await traced.servicer.entered.wait()
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
            if traced is ours:  # the package does not cancel the call at the server
                await traced.servicer.cancelled.wait()

    assert SpanKind.CLIENT not in [span.kind for span in theirs.spans()]
    assert theirs.count.unfinished >= 1
    assert [span.kind for span in ours.spans()] == [SpanKind.CLIENT, SpanKind.SERVER]
    assert (ours.count.unfinished, ours.spans()[0].status.status_code) == (0, StatusCode.ERROR)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the package does not await the handler
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_the_package_breaks_a_handler_that_writes() -> None:
    """A handler that writes its answers fails with the package's interceptor and works with ours."""
    ours, theirs = our_tracing(), their_tracing()
    ours.servicer, theirs.servicer = WritingServicer(), WritingServicer()  # type: ignore[abstract]  # the methods that this test calls

    async with theirs.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError):
            await anext(aiter(stub.EchoEach(iter([echo_pb2.EchoEachRequest(text="hi")]))))
    async with ours.stub() as stub:
        answers = [answer.text async for answer in stub.EchoEach(iter([echo_pb2.EchoEachRequest(text="hi")]))]

    assert answers == ["hi"]
    assert [span.status.status_code for span in ours.spans()] == [StatusCode.UNSET, StatusCode.UNSET]


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    """Return the attributes of a span, without those that differ between connections."""
    return {key: value for key, value in (span.attributes or {}).items() if key not in OF_ONE_CONNECTION}


def without_method(span: ReadableSpan) -> Mapping[str, Any]:
    """Return the attributes of a span of the package. `rpc.method` is excluded because its meaning has changed."""
    return {key: value for key, value in attributes_of(span).items() if key != "rpc.method"}
