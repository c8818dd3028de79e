from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from contracts.errors import InvalidRequest, ServiceError, SlotTaken, Unauthenticated
from interceptors.access_log import ServerAccessLog
from interceptors.chain.server import ServerInterceptor
from interceptors.propagation import ServerContext
from solo60.example.v1 import echo_pb2
from tests.support.echo_server import Endless
from tests.support.echo_serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from structlog.typing import EventDict

    from interceptors.chain.call import Call, Proceed
    from tests.support.echo_server import EchoServer, ServeEcho

SECRET = "jane.doe@example.com"  # noqa: S105 - must not leak
HI = echo_pb2.EchoRequest(text="hi", email=SECRET)


def calls(logs: list[EventDict]) -> list[EventDict]:
    """Return the lines of the access log."""
    return [line for line in logs if line["event"] == "call"]


@pytest.mark.requirement("S4")
async def test_each_call_is_logged_in_one_line(echo: EchoServer, logs: list[EventDict]) -> None:
    """The access log has one line per call with method, caller, outcome, duration and ids, without the request."""
    answer = await echo.stub().Echo(HI)

    [line] = calls(logs)
    assert line.pop("duration_ms") >= 0
    contexts = [span.context for span in echo.spans() if span.context]
    assert (line.pop("trace_id"), line.pop("span_id")) in {
        (f"{context.trace_id:032x}", f"{context.span_id:016x}") for context in contexts
    }
    assert line == {
        "event": "call",
        "log_level": "info",
        "method": "solo60.example.v1.EchoService/Echo",
        "caller": "tester",
        "code": "OK",
        "correlation_id": answer.correlation_id,
    }


@pytest.mark.requirement("S4")
async def test_a_stream_is_logged_in_one_line(echo: EchoServer, logs: list[EventDict]) -> None:
    """A streaming call of each shape is logged in one line, however many messages it carries."""

    async def requests() -> AsyncIterator[echo_pb2.EchoEachRequest]:
        for text in "abc":
            yield echo_pb2.EchoEachRequest(text=text)

    stub = echo.stub()
    _ = [answer async for answer in stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=5))]
    await stub.EchoJoined(echo_pb2.EchoJoinedRequest(text=each.text) async for each in requests())
    _ = [answer async for answer in stub.EchoEach(requests())]

    names = [line["method"].rpartition("/")[2] for line in calls(logs)]
    assert names == ["EchoMany", "EchoJoined", "EchoEach"]


@pytest.mark.requirement("S4")
@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (SlotTaken(), "ALREADY_EXISTS", "SLOT_TAKEN"),
        (ValueError(SECRET), "INTERNAL", "INTERNAL"),
        (asyncio.CancelledError(), "INTERNAL", "INTERNAL"),
    ],
)
async def test_a_failed_call_is_logged_with_code_and_reason(
    echo: EchoServer, logs: list[EventDict], error: BaseException, code: str, reason: str
) -> None:
    """A failed call is logged with the code and reason that its caller got, and without the exception's text."""

    async def hook() -> None:
        raise error

    echo.servicer.hook = hook
    with pytest.raises(ServiceError):
        await echo.stub().Echo(HI)

    [line] = calls(logs)
    assert (line["code"], line["reason"]) == (code, reason)
    assert SECRET not in str(line)


@pytest.mark.requirement("S4")
async def test_an_unauthenticated_call_is_logged(echo: EchoServer, logs: list[EventDict]) -> None:
    """A call with an invalid key is logged as UNAUTHENTICATED, with an empty caller and without the key."""
    with pytest.raises(Unauthenticated):
        await echo.stub("sk_test_wrong").Echo(HI)

    [line] = calls(logs)
    assert (line["caller"], line["code"]) == ("", "UNAUTHENTICATED")
    assert "sk_test" not in str(line)


@pytest.mark.requirement("S4")
async def test_an_expired_call_is_logged_as_deadline_exceeded(echo: EchoServer, logs: list[EventDict]) -> None:
    """A call that exceeds its caller's deadline is logged as DEADLINE_EXCEEDED."""
    hook = echo.servicer.hook = Endless()
    stub = echo.stub()
    await hook.until_out_of_time(lambda: stub.Echo(HI, timeout=0.2))
    await echo.shut_down()

    assert calls(logs)[-1]["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.requirement("S4")
async def test_requests_are_logged_masked_if_enabled(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """With log_requests, the access log contains the request, but masks its personal data."""
    echo = await serve_echo(log_requests=True)

    await echo.stub().Echo(HI)

    [line] = calls(logs)
    assert line["request"] == {"text": "hi", "email": "***"}
    assert SECRET not in str(logs)


async def test_health_checks_are_not_logged(echo: EchoServer, logs: list[EventDict]) -> None:
    """Health checks are not logged, because they come every second and would hide other lines."""
    stub: Any = HealthStub(echo.bare_channel())

    await stub.Check(health_pb2.HealthCheckRequest())

    assert calls(logs) == []


@pytest.mark.requirement("S4")
async def test_an_unrecorded_trace_has_no_trace_id(logs: list[EventDict]) -> None:
    """A call without a recorded trace is logged without a trace id."""
    async with serving(ServerContext(), ServerAccessLog()) as stub:
        await stub.Echo(HI)

    [line] = calls(logs)
    assert "trace_id" not in line


class NotesInterceptor(ServerInterceptor):
    """Interceptor that adds notes to every call."""

    def __init__(self, **notes: object) -> None:
        self._notes = notes

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        """Add the notes."""
        call.notes.update(self._notes)
        return await proceed(call)


@pytest.mark.requirement("S4")
async def test_notes_are_logged(logs: list[EventDict]) -> None:
    """Notes of an interceptor are added to the line of a call and never replace its standard fields."""
    async with serving(ServerContext(), ServerAccessLog(), NotesInterceptor(limit="tight", code="made up")) as stub:
        await stub.Echo(HI)

    [line] = calls(logs)
    assert (line["limit"], line["code"]) == ("tight", "OK")


def fail_to_write(_facts: object) -> None:
    """Raise OSError like a failing log."""
    raise OSError(SECRET)


@pytest.mark.requirement("S4")
@pytest.mark.parametrize("log", [ServerAccessLog(write=fail_to_write), ServerAccessLog()], ids=["failing", "odd note"])
async def test_a_failing_log_line_does_not_fail_the_call(log: ServerAccessLog, logs: list[EventDict]) -> None:
    """If a line cannot be written, the call is answered and an error is logged without the exception's text."""
    async with serving(ServerContext(), log, NotesInterceptor(event="takes a name that is taken")) as stub:
        assert (await stub.Echo(HI)).text == "hi"

    assert [(line["event"], line["log_level"]) for line in logs] == [("a call could not be logged", "error")]
    assert SECRET not in str(logs)


@pytest.mark.requirement("S4")
async def test_an_invalid_timestamp_is_rejected_with_request_logging(serve_echo: ServeEcho) -> None:
    """A request with a timestamp out of range is answered with InvalidRequest while requests are logged."""
    echo = await serve_echo(log_requests=True)
    request = echo_pb2.EchoRequest(text="hi")
    request.period.start_time.seconds = 2**62

    with pytest.raises(InvalidRequest):
        await echo.stub().Echo(request)
