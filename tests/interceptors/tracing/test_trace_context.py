from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import INVALID_SPAN

from contracts.method import find_method
from interceptors.chain.client import ClientCall
from interceptors.chain.server import ServerChain
from interceptors.propagation import ServerContext
from interceptors.tracing.interceptor import ClientTracing, ServerTracing
from interceptors.tracing.trace_context import extract, inject
from solo60.example.v1 import echo_pb2
from tests.support.echo import EchoServicer
from tests.support.echo_serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"

hexadecimal = st.text("0123456789abcdef", max_size=34)
headers = st.one_of(
    st.sampled_from(
        [
            PARENT,
            PARENT[:-2] + "00",
            PARENT[:-2] + "ff",
            PARENT[:-2] + "0A",
            f" {PARENT}\t",
            f"{PARENT}-more",
            PARENT.upper(),
            f"01{PARENT[2:]}-more",
            f"ff{PARENT[2:]}",
            f"00-{'0' * 32}-b7ad6b7169203331-01",
            f"00-{TRACE}-{'0' * 16}-01",
            "",
        ]
    ),
    st.text(max_size=60),
    st.builds("{}-{}-{}-{}".format, hexadecimal, hexadecimal, hexadecimal, hexadecimal),
)


@pytest.mark.requirement("S5")
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "traceparent": headers,
            "tracestate": st.sampled_from(["a=1", "a=1,b=2", "no state"]),
            "baggage": st.sampled_from(["user=7", "a=1,b=2;x=y", "no baggage"]),
            "other": st.text(),
        },
    )
)
def test_extract_agrees_with_opentelemetry(metadata: dict[str, str]) -> None:
    """extract() reads the same trace context and baggage as OpenTelemetry, from valid and malformed headers."""
    ours, theirs = extract(metadata), propagate.extract(metadata)

    assert trace.get_current_span(ours).get_span_context() == trace.get_current_span(theirs).get_span_context()
    assert baggage.get_all(ours) == baggage.get_all(theirs)


@contextmanager
def attached(context: Context) -> Iterator[None]:
    """Make a context the current one."""
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


@pytest.mark.requirement("S5")
@pytest.mark.parametrize("with_baggage", [False, True])
@pytest.mark.parametrize("tracestate", [None, "a=1"])
@pytest.mark.parametrize("flags", ["00", "01"])
def test_inject_agrees_with_opentelemetry(flags: str, tracestate: str | None, with_baggage: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """inject() writes the same headers as OpenTelemetry, sampled or not, with and without trace state and baggage."""
    metadata = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-{flags}"}
    context = extract(metadata | ({"tracestate": tracestate} if tracestate else {}))
    if with_baggage:
        context = baggage.set_baggage("user", "7", context)
    theirs: dict[str, str] = {}
    ours: list[tuple[str, str | bytes]] = []

    with attached(context):
        propagate.inject(theirs)
        inject(trace.get_current_span(), get_current(), ours)

    assert dict(ours) == theirs
    assert len(ours) == 1 + bool(tracestate) + with_baggage


def test_without_a_trace_no_header_is_sent() -> None:
    """inject() writes no header without a current trace."""
    metadata: list[tuple[str, str | bytes]] = []
    inject(INVALID_SPAN, get_current(), metadata)
    assert metadata == []


class CustomPropagator(TextMapPropagator):
    """Custom propagator with a single header."""

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Context:
        """Read the header as baggage."""
        return baggage.set_baggage("letter", carrier["x-letter"], context or Context())

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
        """Write the header."""
        carrier["x-letter"] = "b"

    @property
    def fields(self) -> set[str]:
        """Name the header."""
        return {"x-letter"}


@pytest.fixture
def another_propagator() -> Iterator[None]:
    """Set a custom global propagator for the duration of a test."""
    default = propagate.get_global_textmap()
    propagate.set_global_textmap(CustomPropagator())
    yield
    propagate.set_global_textmap(default)


@pytest.mark.usefixtures("another_propagator")
def test_the_global_propagator_is_used() -> None:
    """extract() and inject() use the global propagator if it is not the default, for example B3."""
    metadata: list[tuple[str, str | bytes]] = []
    inject(INVALID_SPAN, get_current(), metadata)

    assert metadata == [("x-letter", "b")]
    assert baggage.get_baggage("letter", extract({"x-letter": "a", "traceparent": PARENT})) == "a"


async def test_a_propagator_that_is_set_later_is_used(request: pytest.FixtureRequest) -> None:
    """A server uses a propagator that is set after its first call, as clients do."""
    letters: list[object] = []

    async def note_letter() -> None:
        letters.append(baggage.get_baggage("letter"))

    servicer = EchoServicer()
    servicer.hook = note_letter
    tracing = ServerTracing(TracerProvider(shutdown_on_exit=False))
    async with serving(ServerChain([ServerContext(), tracing]), servicer=servicer) as stub:
        await stub.Echo(HI)
        request.getfixturevalue("another_propagator")
        await stub.Echo(HI, metadata=[("x-letter", "a")])

    assert letters == [None, "a"]


async def two_hops(serve_echo: ServeEcho) -> tuple[EchoServer, Callable[[], dict[str, str]]]:
    """Start two servers and let the first call the second.

    Return the first, and a function for the second's trace context.
    """
    front, back = await serve_echo(), await serve_echo()
    stub, seen = back.stub(), dict[str, str]()

    async def hook() -> None:
        await stub.Echo(HI)

    front.servicer.hook = hook

    async def record() -> None:
        span = trace.get_current_span().get_span_context()
        seen.update(trace=trace.format_trace_id(span.trace_id), sampled=str(span.trace_flags.sampled))
        seen.update({key: str(value) for key, value in baggage.get_all().items()})

    back.servicer.hook = record
    return front, lambda: seen


@pytest.mark.requirement("S5")
async def test_baggage_reaches_the_second_hop(serve_echo: ServeEcho) -> None:
    """The baggage of the first caller is available in the handler of the second hop."""
    front, seen = await two_hops(serve_echo)

    with attached(baggage.set_baggage("plan", "gold & more", Context())):
        await front.stub().Echo(HI)

    assert seen()["plan"] == "gold & more"


@pytest.mark.requirement("S5")
async def test_an_unsampled_trace_reaches_the_second_hop(serve_echo: ServeEcho) -> None:
    """An unsampled trace stays unsampled over two hops, and its trace id is passed on for logs."""
    front, seen = await two_hops(serve_echo)

    with attached(extract({"traceparent": PARENT[:-2] + "00"})):
        await front.stub().Echo(HI)

    assert seen() == {"trace": TRACE, "sampled": "False"}
    assert front.spans() == []


@pytest.mark.parametrize(("sampler", "is_recorded"), [(ALWAYS_ON, True), (ALWAYS_OFF, False)])
def test_a_custom_sampler_overrides_the_caller(sampler: Any, *, is_recorded: bool) -> None:
    """A custom sampler overrides the sampling decision of the caller. Without recording, there is no span to end."""
    call = ClientCall(find_method("/solo60.example.v1.EchoService/Echo"), [], None)
    with attached(extract({"traceparent": PARENT})):
        finish = ClientTracing(TracerProvider(sampler, shutdown_on_exit=False)).start_of(call.method)(call)

    [(_, header)] = call.metadata
    assert (finish is not None, bool(call.trace_id)) == (is_recorded, is_recorded)
    assert str(header).startswith(f"00-{TRACE}-")
    assert str(header).endswith("-01" if is_recorded else "-00")
