from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from contracts.errors import InvalidRequest, ServiceError, SlotTaken, Unauthenticated
from interceptors.access_log import ServerAccessLog
from interceptors.context import ServerContext
from interceptors.server import Call, ServerInterceptor
from solo60.example.v1 import echo_pb2
from tests.interceptors.test_server import serving
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from structlog.typing import EventDict

    from interceptors.server import Proceed
    from tests.support.echo_server import EchoServer, ServeEcho

SECRET = "jane.doe@example.com"  # noqa: S105 - what must not leak
HI = echo_pb2.EchoRequest(text="hi", email=SECRET)


def calls(logs: list[EventDict]) -> list[EventDict]:
    """Return the lines of the access log."""
    return [line for line in logs if line["event"] == "call"]


@pytest.mark.requirement("S4")
async def test_each_call_is_one_line(echo: EchoServer, logs: list[EventDict]) -> None:
    """Caller, method, outcome, duration, correlation id and trace id, and nothing of the request."""
    answer = await echo.stub().Echo(HI)

    [line] = calls(logs)
    assert line.pop("duration_ms") >= 0
    assert line.pop("trace_id") in {f"{span.context.trace_id:032x}" for span in echo.spans() if span.context}
    assert line == {
        "event": "call",
        "log_level": "info",
        "method": "solo60.example.v1.EchoService/Echo",
        "caller": "tester",
        "code": "OK",
        "correlation_id": answer.correlation_id,
    }


@pytest.mark.requirement("S4")
async def test_a_stream_is_one_line_whatever_its_length(echo: EchoServer, logs: list[EventDict]) -> None:
    """In each shape."""

    async def texts() -> AsyncIterator[echo_pb2.EchoEachRequest]:
        for text in "abc":
            yield echo_pb2.EchoEachRequest(text=text)

    stub = echo.stub()
    _ = [answer async for answer in stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=5))]
    await stub.EchoJoined(echo_pb2.EchoJoinedRequest(text=each.text) async for each in texts())
    _ = [answer async for answer in stub.EchoEach(texts())]

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
async def test_a_failed_call_is_logged_with_what_the_caller_was_told(
    echo: EchoServer, logs: list[EventDict], error: BaseException, code: str, reason: str
) -> None:
    """Code and reason are those of the answer, and the exception's text stays out of the access log."""

    async def hook() -> None:
        raise error

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    with pytest.raises(ServiceError):
        await echo.stub().Echo(HI)

    [line] = calls(logs)
    assert (line["code"], line["reason"]) == (code, reason)
    assert SECRET not in str(line)


@pytest.mark.requirement("S4")
async def test_a_stranger_is_logged_too(echo: EchoServer, logs: list[EventDict]) -> None:
    """With no name, for none was proven."""
    with pytest.raises(Unauthenticated):
        await echo.stub("sk_test_wrong").Echo(HI)

    [line] = calls(logs)
    assert (line["caller"], line["code"]) == ("", "UNAUTHENTICATED")
    assert "sk_test" not in str(line)


@pytest.mark.requirement("S4")
async def test_a_call_that_ran_out_of_time_is_logged_as_such(echo: EchoServer, logs: list[EventDict]) -> None:
    """The caller's deadline ended it."""
    hook = echo.servicer.hook = Endless()  # type: ignore[method-assign]  # what the hook is for
    stub = echo.stub()
    await hook.until_out_of_time(lambda: stub.Echo(HI, timeout=0.2))
    await echo.shut_down()

    assert calls(logs)[-1]["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.requirement("S4")
async def test_requests_are_logged_where_settings_say_so_and_masked(
    serve_echo: ServeEcho, logs: list[EventDict]
) -> None:
    """No personal data, not even then."""
    echo = await serve_echo(log_requests=True)

    await echo.stub().Echo(HI)

    [line] = calls(logs)
    assert line["request"] == {"text": "hi", "email": "***"}
    assert SECRET not in str(logs)


async def test_health_checks_are_not_logged(echo: EchoServer, logs: list[EventDict]) -> None:
    """They come every second and would drown all else."""
    stub: Any = HealthStub(echo.bare_channel())

    await stub.Check(health_pb2.HealthCheckRequest())

    assert calls(logs) == []


@pytest.mark.requirement("S4")
async def test_a_trace_id_is_told_where_the_trace_is_recorded(logs: list[EventDict]) -> None:
    """A trace that nobody can look at has no id to look for."""
    async with serving(ServerContext(), ServerAccessLog()) as stub:
        await stub.Echo(HI)

    [line] = calls(logs)
    assert "trace_id" not in line


class Noting(ServerInterceptor):
    """Notes a fact of every call."""

    def __init__(self, **notes: object) -> None:
        self._notes = notes

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        """Note it."""
        call.notes.update(self._notes)
        return await proceed(call)


@pytest.mark.requirement("S4")
async def test_notes_are_in_the_line(logs: list[EventDict]) -> None:
    """What an interceptor finds out about a call, beside and never instead of what every line has."""
    async with serving(ServerContext(), ServerAccessLog(), Noting(limit="tight", code="made up")) as stub:
        await stub.Echo(HI)

    [line] = calls(logs)
    assert (line["limit"], line["code"]) == ("tight", "OK")


def refuse(_facts: object) -> None:
    """Take no line."""
    raise OSError(SECRET)


@pytest.mark.requirement("S4")
@pytest.mark.parametrize("log", [ServerAccessLog(write=refuse), ServerAccessLog()], ids=["full", "odd note"])
async def test_a_line_that_cannot_be_written_fails_no_call(log: ServerAccessLog, logs: list[EventDict]) -> None:
    """The call has its answer; that its line is missing is told."""
    async with serving(ServerContext(), log, Noting(event="takes a name that is taken")) as stub:
        assert (await stub.Echo(HI)).text == "hi"

    assert [(line["event"], line["log_level"]) for line in logs] == [("a call could not be logged", "error")]
    assert SECRET not in str(logs)


@pytest.mark.requirement("S4")
async def test_a_request_with_a_time_out_of_range_is_refused_as_such(serve_echo: ServeEcho) -> None:
    """That requests are logged changes no answer."""
    echo = await serve_echo(log_requests=True)
    request = echo_pb2.EchoRequest(text="hi")
    request.period.start_time.seconds = 2**62

    with pytest.raises(InvalidRequest):
        await echo.stub().Echo(request)
