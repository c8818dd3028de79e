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
from interceptors.client import ClientCall
from interceptors.span_attributes import client_error_type, server_error_type
from interceptors.tracing import ClientTracing
from solo60.example.v1 import echo_pb2
from tests.interceptors.test_errors import both_streams, client_stream, each_shape, raising
from tests.support.echo_server import Endless
from tests.support.engines import ENGINE
from tests.support.retries import retried_once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.interceptors.test_errors import Shape
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
SECRET = "postgres://user:hunter2@db"  # noqa: S105 - what must not leak


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


@pytest.mark.requirement("S5")
async def test_the_servers_span_is_the_child_of_the_callers(echo: EchoServer) -> None:
    """One trace over both sides, which names the correlation id and the caller."""
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
    """A call made while a call is served goes on with its trace."""
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


@pytest.mark.requirement("S5")
@each_shape
async def test_a_refused_call_is_an_error_on_both_sides(echo: EchoServer, call: Shape) -> None:
    """With code and reason, in every shape, and each span ends exactly once."""
    stub = raising(echo, DeadlineExceeded("Too late."))

    with pytest.raises(DeadlineExceeded):
        await call(stub)

    for span in await ended_spans(echo):
        assert span.status.status_code is StatusCode.ERROR
        assert _attributes(span)["rpc.status_code"] == "DEADLINE_EXCEEDED"
        assert _attributes(span)["error.type"] == "DEADLINE_EXCEEDED"


async def test_a_refusal_that_is_the_callers_own_fault_is_none_of_the_server(echo: EchoServer) -> None:
    """As OpenTelemetry has it: for the server a domain error is an answer; for the caller it is an error."""
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
async def test_no_text_of_an_exception_is_in_a_span(echo: EchoServer, call: Shape) -> None:
    """Spans leave the service; what went wrong inside stays in its log."""
    with pytest.raises(Internal):
        await call(raising(echo, ValueError(SECRET)))

    for span in await ended_spans(echo):
        assert span.status.status_code is StatusCode.ERROR
        assert SECRET not in span.to_json()
        assert not span.events


@pytest.mark.requirement("S5")
async def test_the_callers_deadline_is_an_error_on_both_sides(echo: EchoServer) -> None:
    """The package's own interceptors leave such spans without a status."""
    hook, stub = Endless(), echo.stub()
    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for

    await hook.until_out_of_time(lambda: stub.Echo(HI, timeout=0.2))
    await echo.stop()

    for span in echo.spans()[-2:]:
        assert span.status.status_code is StatusCode.ERROR
        assert _attributes(span)["error.type"] == "DEADLINE_EXCEEDED"


@pytest.mark.requirement("S5")
async def test_a_call_that_is_refused_before_it_is_sent_has_a_span_of_its_caller(serve_echo: ServeEcho) -> None:
    """Who is refused for its key sees it in the trace as well."""
    echo = await serve_echo()
    with pytest.raises(Unauthenticated):
        await echo.stub("sk_test_wrong").Echo(HI)

    client, server = await ended_spans(echo)

    assert _attributes(client)["error.type"] == "UNAUTHENTICATED"
    assert _attributes(client)["rpc.status_code"] == _attributes(server)["rpc.status_code"] == "UNAUTHENTICATED"
    assert _attributes(server)["solo60.caller"] == ""


async def test_health_checks_leave_no_span(echo: EchoServer) -> None:
    """They come every second and would drown all else."""
    stub: Any = HealthStub(echo.bare_channel())
    await stub.Check(health_pb2.HealthCheckRequest())
    await echo.stop()

    assert echo.spans() == []


async def test_a_retried_call_says_which_attempt_it_is(echo: EchoServer) -> None:
    """What gRPC's core sends again is a span of its own at the server, with the number of tries before it (gRFC A6)."""
    await retried_once(echo)

    server = sorted(
        (span for span in echo.spans() if span.kind is SpanKind.SERVER), key=lambda span: span.end_time or 0
    )
    attempts = [_attributes(span).get("rpc.request.metadata.grpc-previous-rpc-attempts") for span in server]
    assert attempts == [None, ("1",)]


# The attributes of a span by their present names, and the names that the conventions had before 1.38.
PRESENT = {"rpc.system.name", "rpc.method", "rpc.status_code"}
SERVER_PRESENT = PRESENT | {"network.peer.address", "network.peer.port", "user_agent.original"}
OURS = {"solo60.correlation_id", "solo60.caller"}
OLD = {"rpc.system", "rpc.service", "rpc.grpc.status_code"}
SERVER_OLD = OLD | {"net.peer.ip", "net.peer.port", "net.peer.name", "rpc.user_agent"}
PEER = {name for name in SERVER_PRESENT | SERVER_OLD if "peer" in name}


def has_no_peer(call: Shape) -> bool:
    """Tell whether the server knows no peer: native hands streamed requests to a server behind a Unix socket."""
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
async def test_a_span_has_the_attributes_that_the_conventions_name(
    serve_echo: ServeEcho, call: Shape, opt_in: str, client_names: set[str], server_names: set[str]
) -> None:
    """The present names always, those before them only where OTEL_SEMCONV_STABILITY_OPT_IN asks for both."""
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
async def test_only_the_span_of_an_error_has_an_error_type(code: grpc.StatusCode) -> None:
    """To a client every code but OK is an error, to a server six of them (OpenTelemetry's conventions for gRPC)."""
    refusal = UnknownError(code)

    assert client_error_type(refusal, refusal) == code.name
    assert server_error_type(refusal) == (code.name if code.name in SERVER_ERRORS else "")


async def test_a_call_that_fails_without_a_code_has_its_exception_as_error_type(echo: EchoServer) -> None:
    """A call that never reached a server shows the class of the exception, and none of its words."""
    finish = ClientTracing(echo.tracers).start(ClientCall(find_method("/solo60.example.v1.EchoService/Echo"), [], None))

    assert finish is not None
    finish(json.JSONDecodeError(SECRET, "", 0))

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
async def test_a_span_tells_where_its_call_went(
    echo: EchoServer, target: str, server: tuple[str, int | None] | None, peer: tuple[str, int | None] | None
) -> None:
    """The name of the server by gRPC's rules for targets, and its network address where the target is one."""
    call = ClientCall(find_method("/solo60.example.v1.EchoService/Echo"), [], None)

    finish = ClientTracing(echo.tracers, lambda _service: target).start(call)

    assert finish is not None
    finish(None)
    [span] = echo.spans()
    for kind, expected in (("server", server), ("network.peer", peer)):
        told = _attributes(span).get(f"{kind}.address"), _attributes(span).get(f"{kind}.port")
        assert told == (expected or (None, None))


async def test_a_span_names_the_code_that_made_it(echo: EchoServer) -> None:
    """A backend can tell by version and schema how to read the attributes."""
    await echo.stub().Echo(HI)

    for span in await ended_spans(echo):
        scope = span.instrumentation_scope
        assert scope is not None
        assert (scope.name, scope.version) == ("solo60.mesh", version("solo60-mesh"))
        assert scope.schema_url == "https://opentelemetry.io/schemas/1.45.0"


def _attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}
