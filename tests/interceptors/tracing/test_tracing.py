from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry.trace import SpanKind, StatusCode

from contracts.errors import DeadlineExceeded, Internal, SlotTaken, Unauthenticated, UnknownError
from contracts.method import find_method
from interceptors.chain.client import ClientCall
from interceptors.tracing.interceptor import ClientTracing
from interceptors.tracing.span_attributes import client_error_type, server_error_type
from solo60.example.v1 import echo_pb2
from tests.support.call_shapes import both_streams, client_stream, each_shape, raising
from tests.support.echo_server import Endless
from tests.support.engines import ENGINE
from tests.support.retries import call_with_one_retry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.support.call_shapes import Shape
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
SECRET = "postgres://user:hunter2@db"  # noqa: S105 - must not leak


def id_of(span: ReadableSpan) -> int:
    """Return the id of a span."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_of(span: ReadableSpan) -> int:
    """Return the trace id of a span."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


async def ended_spans(echo: EchoServer) -> tuple[ReadableSpan, ReadableSpan]:
    """Stop the server, so that no call is in flight, and return the client's and the server's span."""
    await echo.stop()
    client, server = echo.spans()
    assert (client.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    return client, server


@pytest.mark.requirement("S5")
async def test_the_servers_span_is_a_child_of_the_clients(echo: EchoServer) -> None:
    """The server's span is a child of the client's span and names the correlation id and the caller."""
    answer = await echo.stub().Echo(HI)

    client, server = await ended_spans(echo)

    assert client.parent is None
    assert server.parent is not None
    assert (server.parent.span_id, trace_of(server)) == (id_of(client), trace_of(client))
    assert (client.status.status_code, server.status.status_code) == (StatusCode.UNSET, StatusCode.UNSET)
    assert _attributes(server)["solo60.correlation_id"] == answer.correlation_id
    assert _attributes(server)["solo60.caller"] == "tester"


@pytest.mark.requirement("S5")
async def test_two_hops_make_one_trace(serve_echo: ServeEcho) -> None:
    """A call made by a handler continues the trace of the handler's call."""
    front, back = await serve_echo(), await serve_echo()
    stub = back.stub()

    async def hook() -> None:
        await stub.Echo(HI)

    front.servicer.hook = hook
    await front.stub().Echo(HI)
    await front.stop()
    await back.stop()

    chain = sorted([*front.spans(), *back.spans()], key=lambda span: span.start_time or 0)
    assert [span.kind for span in chain] == [SpanKind.CLIENT, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.SERVER]
    assert [span.parent.span_id if span.parent else None for span in chain] == [None, *map(id_of, chain[:-1])]


@pytest.mark.requirement("S5")
@each_shape
async def test_a_failed_call_is_an_error_on_both_sides(echo: EchoServer, call: Shape) -> None:
    """A failed call of any shape has one span per side, each with error status, code and error type."""
    stub = raising(echo, DeadlineExceeded("Too late."))

    with pytest.raises(DeadlineExceeded):
        await call(stub)

    for span in await ended_spans(echo):
        assert span.status.status_code is StatusCode.ERROR
        assert _attributes(span)["rpc.status_code"] == "DEADLINE_EXCEEDED"
        assert _attributes(span)["error.type"] == "DEADLINE_EXCEEDED"


async def test_a_domain_error_is_no_error_of_the_servers_span(echo: EchoServer) -> None:
    """A domain error is an error of the client's span but not of the server's (OpenTelemetry).

    Both spans carry code and reason.
    """
    with pytest.raises(SlotTaken):
        await raising(echo, SlotTaken()).Echo(HI)

    client, server = await ended_spans(echo)

    assert (client.status.status_code, server.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert _attributes(client)["error.type"] == SlotTaken.code.name
    assert "error.type" not in _attributes(server)
    for span in (client, server):
        assert _attributes(span)["rpc.status_code"] == SlotTaken.code.name
        assert _attributes(span)["solo60.reason"] == "SLOT_TAKEN"


@pytest.mark.requirement("S4")
@each_shape
async def test_no_span_contains_the_text_of_an_exception(echo: EchoServer, call: Shape) -> None:
    """The spans of an unexpected exception have error status but not its text, because spans leave the service."""
    with pytest.raises(Internal):
        await call(raising(echo, ValueError(SECRET)))

    for span in await ended_spans(echo):
        assert span.status.status_code is StatusCode.ERROR
        assert SECRET not in span.to_json()
        assert not span.events


@pytest.mark.requirement("S5")
async def test_an_expired_call_is_an_error_on_both_sides(echo: EchoServer) -> None:
    """The spans of an expired call are errors on both sides. OpenTelemetry's own interceptors set no status there."""
    hook, stub = Endless(), echo.stub()
    echo.servicer.hook = hook

    await hook.until_out_of_time(lambda: stub.Echo(HI, timeout=0.2))
    await echo.stop()

    for span in echo.spans()[-2:]:
        assert span.status.status_code is StatusCode.ERROR
        assert _attributes(span)["error.type"] == "DEADLINE_EXCEEDED"


@pytest.mark.requirement("S5")
async def test_an_unauthenticated_call_has_spans_on_both_sides(serve_echo: ServeEcho) -> None:
    """A call with an invalid key has spans with UNAUTHENTICATED on both sides, the server's with an empty caller."""
    echo = await serve_echo()
    with pytest.raises(Unauthenticated):
        await echo.stub("sk_test_wrong").Echo(HI)

    client, server = await ended_spans(echo)

    assert _attributes(client)["error.type"] == "UNAUTHENTICATED"
    assert _attributes(client)["rpc.status_code"] == _attributes(server)["rpc.status_code"] == "UNAUTHENTICATED"
    assert _attributes(server)["solo60.caller"] == ""


async def test_health_checks_are_not_traced(echo: EchoServer) -> None:
    """Health checks have no spans, because they come every second and would hide other spans."""
    stub: Any = HealthStub(echo.bare_channel())
    await stub.Check(health_pb2.HealthCheckRequest())
    await echo.stop()

    assert echo.spans() == []


async def test_a_retry_has_its_own_span_with_its_attempt_number(echo: EchoServer) -> None:
    """Each retry of gRPC's core has its own server span with the number of previous attempts (gRFC A6)."""
    await call_with_one_retry(echo)

    server = sorted(
        (span for span in echo.spans() if span.kind is SpanKind.SERVER), key=lambda span: span.end_time or 0
    )
    attempts = [_attributes(span).get("rpc.request.metadata.grpc-previous-rpc-attempts") for span in server]
    assert attempts == [None, ("1",)]


# Attributes of a span by their current names, and their names before version 1.38 of the conventions.
PRESENT = {"rpc.system.name", "rpc.method", "rpc.status_code"}
SERVER_PRESENT = PRESENT | {"network.peer.address", "network.peer.port", "user_agent.original"}
OURS = {"solo60.correlation_id", "solo60.caller"}
OLD = {"rpc.system", "rpc.service", "rpc.grpc.status_code"}
SERVER_OLD = OLD | {"net.peer.ip", "net.peer.port", "net.peer.name", "rpc.user_agent"}
PEER = {name for name in SERVER_PRESENT | SERVER_OLD if "peer" in name}


def has_no_peer(call: Shape) -> bool:
    """Return whether the server knows no peer: native forwards streams to a server behind a Unix socket."""
    return ENGINE == "native" and call in (client_stream, both_streams)


@each_shape
@pytest.mark.parametrize(
    ("opt_in", "client_names", "server_names"),
    [
        ("", PRESENT, SERVER_PRESENT),
        ("rpc", PRESENT, SERVER_PRESENT),
        ("http,rpc/dup", PRESENT | OLD, SERVER_PRESENT | SERVER_OLD),
        ("rpc, rpc/dup", PRESENT | OLD, SERVER_PRESENT | SERVER_OLD),
    ],
)
async def test_a_span_has_the_attributes_of_the_conventions(
    serve_echo: ServeEcho, call: Shape, opt_in: str, client_names: set[str], server_names: set[str]
) -> None:
    """Spans have the current attributes of the conventions.

    The old attributes are added only if OTEL_SEMCONV_STABILITY_OPT_IN requests both.
    """
    echo = await serve_echo(otel_semconv_stability_opt_in=opt_in)
    await call(echo.stub())

    client, server = await ended_spans(echo)

    assert set(_attributes(client)) == client_names
    assert set(_attributes(server)) == (server_names - PEER if has_no_peer(call) else server_names) | OURS
    for span in (client, server):
        assert (_attributes(span)["rpc.system.name"], _attributes(span)["rpc.status_code"]) == ("grpc", "OK")
        assert span.name == _attributes(span)["rpc.method"]
        assert span.name.startswith("solo60.example.v1.EchoService/Echo")


SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_error_types_follow_opentelemetry(code: grpc.StatusCode) -> None:
    """Every code but OK is an error of a client, and six codes are errors of a server (OpenTelemetry, gRPC)."""
    rejection = UnknownError(code)

    assert client_error_type(rejection, rejection) == code.name
    assert server_error_type(rejection) == (code.name if code.name in SERVER_ERRORS else "")


async def test_an_error_without_a_code_has_its_class_as_error_type(echo: EchoServer) -> None:
    """A call that fails with a Python exception has the class as its error type, without the exception's text."""
    call = ClientCall(find_method("/solo60.example.v1.EchoService/Echo"), [], None)
    finish = ClientTracing(echo.tracers).start_of(call.method)(call)

    assert finish is not None
    finish(call, json.JSONDecodeError(SECRET, "", 0))

    [client] = echo.spans()
    assert _attributes(client)["error.type"] == "json.decoder.JSONDecodeError"
    assert SECRET not in client.to_json()


@pytest.mark.parametrize(
    ("target", "server", "peer"),
    [
        ("grpc.io:50051", ("grpc.io", 50051), None),
        ("dns:///session:50051", ("session", 50051), None),
        ("dns://1.2.3.4/grpc.io:50051", ("grpc.io", 50051), None),
        ("127.0.0.1:50051", ("127.0.0.1", 50051), ("127.0.0.1", 50051)),
        ("dns:///127.0.0.1:50051", ("127.0.0.1", 50051), ("127.0.0.1", 50051)),
        ("ipv4:10.1.2.80:50051", ("10.1.2.80", 50051), ("10.1.2.80", 50051)),
        ("[::1]:50051", ("::1", 50051), ("::1", 50051)),
        ("ipv6:[2001:db8::1]:50051", ("2001:db8::1", 50051), ("2001:db8::1", 50051)),
        ("unix:///run/mesh.sock", ("/run/mesh.sock", None), ("/run/mesh.sock", None)),
        ("ipv4:10.1.2.80:50051,10.1.2.81:50051", ("ipv4:10.1.2.80:50051,10.1.2.81:50051", None), None),
        ("xds:///session", ("xds:///session", None), None),
        ("", None, None),
    ],
)
async def test_a_span_names_server_and_peer(
    echo: EchoServer, target: str, server: tuple[str, int | None] | None, peer: tuple[str, int | None] | None
) -> None:
    """A client span has the server's name by gRPC's rules for targets, and the network address if the target is one."""
    call = ClientCall(find_method("/solo60.example.v1.EchoService/Echo"), [], None)

    finish = ClientTracing(echo.tracers, lambda _service: target).start_of(call.method)(call)

    assert finish is not None
    finish(call, None)
    [span] = echo.spans()
    for kind, expected in (("server", server), ("network.peer", peer)):
        reported = _attributes(span).get(f"{kind}.address"), _attributes(span).get(f"{kind}.port")
        assert reported == (expected or (None, None))


async def test_a_span_names_its_instrumentation_scope(echo: EchoServer) -> None:
    """Spans carry our name and version and the schema URL of their attributes."""
    await echo.stub().Echo(HI)

    for span in await ended_spans(echo):
        scope = span.instrumentation_scope
        assert scope is not None
        assert (scope.name, scope.version) == ("solo60.mesh", version("solo60-mesh"))
        assert scope.schema_url == "https://opentelemetry.io/schemas/1.45.0"


def _attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}
