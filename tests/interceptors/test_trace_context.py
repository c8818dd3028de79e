from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import INVALID_SPAN

from contracts.method import find_method
from interceptors.client import ClientCall
from interceptors.trace_context import extract, inject
from interceptors.tracing import ClientTracing
from solo60.example.v1 import echo_pb2

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
def test_what_is_read_is_what_opentelemetry_reads(metadata: dict[str, str]) -> None:
    """The short way and OpenTelemetry's own agree on every header, well formed or not."""
    ours, theirs = extract(metadata), propagate.extract(metadata)

    assert trace.get_current_span(ours).get_span_context() == trace.get_current_span(theirs).get_span_context()
    assert baggage.get_all(ours) == baggage.get_all(theirs)


@contextmanager
def inside(context: Context) -> Iterator[None]:
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
def test_what_is_written_is_what_opentelemetry_writes(flags: str, tracestate: str | None, with_baggage: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The same headers, sampled or not, with trace state and baggage where there are any."""
    metadata = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-{flags}"}
    context = extract(metadata | ({"tracestate": tracestate} if tracestate else {}))
    if with_baggage:
        context = baggage.set_baggage("user", "7", context)
    theirs: dict[str, str] = {}
    ours: list[tuple[str, str | bytes]] = []

    with inside(context):
        propagate.inject(theirs)
        inject(trace.get_current_span(), ours)

    assert dict(ours) == theirs
    assert len(ours) == 1 + bool(tracestate) + with_baggage


def test_no_trace_is_no_header() -> None:
    """Where no tracing is set up, nothing is sent of it."""
    metadata: list[tuple[str, str | bytes]] = []
    inject(INVALID_SPAN, metadata)
    assert metadata == []


class Letter(TextMapPropagator):
    """A propagator of one's own, which knows nothing but one header."""

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Context:  # noqa: ANN401, ARG002 - as OpenTelemetry has it
        """Read it as baggage."""
        return baggage.set_baggage("letter", carrier["x-letter"], context or Context())

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:  # noqa: ANN401, ARG002 - as OpenTelemetry has it
        """Write it."""
        carrier["x-letter"] = "b"

    @property
    def fields(self) -> set[str]:
        """Name the header."""
        return {"x-letter"}


@pytest.fixture
def another_propagator() -> Iterator[None]:
    """Set up a propagator other than the default for the time of a test."""
    default = propagate.get_global_textmap()
    propagate.set_global_textmap(Letter())
    yield
    propagate.set_global_textmap(default)


@pytest.mark.usefixtures("another_propagator")
def test_the_propagator_that_is_set_up_is_the_one_that_is_used() -> None:
    """Whoever sets up B3 headers, or any others, gets those."""
    metadata: list[tuple[str, str | bytes]] = []
    inject(INVALID_SPAN, metadata)

    assert metadata == [("x-letter", "b")]
    assert baggage.get_baggage("letter", extract({"x-letter": "a", "traceparent": PARENT})) == "a"


async def two_hops(serve_echo: ServeEcho) -> tuple[EchoServer, Callable[[], dict[str, str]]]:
    """Start two servers, the first of which calls the second; return it, and what tells the second's metadata."""
    front, back = await serve_echo(), await serve_echo()
    stub, seen = back.stub(), dict[str, str]()

    async def hook() -> None:
        await stub.Echo(HI)

    front.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for

    async def look() -> None:
        span = trace.get_current_span().get_span_context()
        seen.update(trace=trace.format_trace_id(span.trace_id), sampled=str(span.trace_flags.sampled))
        seen.update({key: str(value) for key, value in baggage.get_all().items()})

    back.servicer.hook = look  # type: ignore[method-assign]  # what the hook is for
    return front, lambda: seen


@pytest.mark.requirement("S5")
async def test_baggage_goes_over_two_hops(serve_echo: ServeEcho) -> None:
    """What the first caller puts into its baggage is there where the last one serves."""
    front, seen = await two_hops(serve_echo)

    with inside(baggage.set_baggage("plan", "gold & more", Context())):
        await front.stub().Echo(HI)

    assert seen()["plan"] == "gold & more"


@pytest.mark.requirement("S5")
async def test_a_trace_that_is_not_sampled_goes_over_two_hops_all_the_same(serve_echo: ServeEcho) -> None:
    """Who first says no, says it for all; the trace id is still the caller's, for whoever logs it."""
    front, seen = await two_hops(serve_echo)

    with inside(extract({"traceparent": PARENT[:-2] + "00"})):
        await front.stub().Echo(HI)

    assert seen() == {"trace": TRACE, "sampled": "False"}
    assert front.spans() == []


@pytest.mark.parametrize(("sampler", "is_recorded"), [(ALWAYS_ON, True), (ALWAYS_OFF, False)])
def test_the_sampler_decides(sampler: Any, *, is_recorded: bool) -> None:  # noqa: ANN401 - a sampler
    """A sampler of one's own overrides what the caller decided; without a recording there is nothing to end."""
    call = ClientCall(find_method("/solo60.example.v1.EchoService/Echo"), [], None)
    with inside(extract({"traceparent": PARENT})):
        finish = ClientTracing(TracerProvider(sampler, shutdown_on_exit=False)).start(call)

    [(_, header)] = call.metadata
    assert (finish is not None, bool(call.trace_id)) == (is_recorded, is_recorded)
    assert str(header).startswith(f"00-{TRACE}-")
    assert str(header).endswith("-01" if is_recorded else "-00")
