"""Statuses that handlers set through gRPC's context, and errors that reach the chain in groups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from contracts.errors import GymNotFound, Internal, RateLimited, UnknownError
from contracts.metadata import STATUS_DETAILS
from solo60.example.v1 import echo_pb2
from tests.interceptors.metrics.samples import samples
from tests.support.call_shapes import HI, both_streams, client_stream, each_shape, raising, unary
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from structlog.typing import EventDict

    from tests.support.call_shapes import Shape
    from tests.support.echo_server import EchoServer, ServeEcho

SECRET = "postgres://user:hunter2@db"  # noqa: S105 - must not leak
both_engines = pytest.mark.parametrize("engine", ["grpcio", "native"])


class StatusServicer(EchoServicer):
    """Servicer that sets a status in each shape and style: with an answer, without one, or with a crash."""

    crash: Exception | None = None

    def _set(self, context: Any) -> None:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("no such place")
        if self.crash is not None:
            raise self.crash

    async def Echo(self, request: Any, context: Any) -> echo_pb2.EchoResponse:
        """Answer with an invalid message."""
        self._set(context)
        return echo_pb2.EchoResponse()

    async def EchoMany(self, request: Any, context: Any) -> AsyncIterator[echo_pb2.EchoManyResponse]:
        """Answer once."""
        yield echo_pb2.EchoManyResponse(text="hi")
        self._set(context)

    async def EchoJoined(self, request_iterator: Any, context: Any) -> Any:
        """Answer with nothing."""
        self._set(context)

    async def EchoEach(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        """Write nothing."""
        self._set(context)


@both_engines
@pytest.mark.parametrize("crash", [None, ValueError(SECRET)], ids=["with an answer", "with a crash"])
@each_shape
async def test_the_status_set_by_a_handler_is_reported_everywhere(
    serve_echo: ServeEcho, logs: list[EventDict], call: Shape, crash: Exception | None, engine: str
) -> None:
    """Caller, span, metrics and log have the status that a handler sets, even if the handler answers or crashes."""
    servicer = StatusServicer()
    servicer.crash = crash
    echo = await serve_echo(servicer, engine=engine)

    with pytest.raises(UnknownError) as caught:
        await call(echo.stub())

    assert (caught.value.code, caught.value.message) == (grpc.StatusCode.NOT_FOUND, "no such place")
    assert caught.value.correlation_id
    [line] = [line for line in logs if line["event"] == "call"]
    assert line["code"] == "NOT_FOUND"
    server = next(span for span in echo.spans() if span.kind.name == "SERVER")
    assert "NOT_FOUND" in (server.attributes or {}).values()
    [outcome] = samples(echo.registry, "grpc_server_handled_total")
    assert outcome[0].replace("_", "").upper() == "NOTFOUND"
    assert any(line["event"] == "internal error" for line in logs) is (crash is not None)


@both_engines
async def test_a_handlers_own_status_details_are_sent(serve_echo: ServeEcho, engine: str) -> None:
    """The trailing metadata of a handler, including status details, is sent with its status."""

    class TrailingMetadataServicer(EchoServicer):
        async def Echo(self, request: Any, context: Any) -> Any:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_trailing_metadata(((STATUS_DETAILS, b"\x08\x05"), ("x-place", "7")))

    echo = await serve_echo(TrailingMetadataServicer(), engine=engine)

    with pytest.raises(UnknownError) as caught:
        await echo.stub().Echo(HI)

    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)
    trailing = caught.value.__cause__.trailing_metadata()
    assert (trailing.get_all(STATUS_DETAILS), trailing["x-place"]) == ([b"\x08\x05"], "7")


class PlainFunctionServicer(EchoServicer):
    """Servicer with plain functions, which run in a thread."""

    def Echo(self, request: Any, context: Any) -> Any:
        """Fail in one of gRPC's two ways."""
        if request.text == "abort":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such place")
        context.send_initial_metadata((("x-place", "7"),))
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("no such place")


@both_engines
@pytest.mark.parametrize("text", ["abort", "set"])
async def test_a_plain_function_may_abort_or_set_a_status(serve_echo: ServeEcho, engine: str, text: str) -> None:
    """A handler that is a plain function may abort or set a status, without awaiting."""
    echo = await serve_echo(PlainFunctionServicer(), engine=engine)

    with pytest.raises(UnknownError) as caught:
        await echo.stub().Echo(echo_pb2.EchoRequest(text=text))

    assert (caught.value.code, caught.value.message) == (grpc.StatusCode.NOT_FOUND, "no such place")


def in_tasks(*errors: BaseException) -> Callable[[], Any]:
    """Return a hook that raises each of `errors` in a task of one task group."""

    async def fail(error: BaseException) -> None:
        raise error

    async def hook() -> None:
        async with asyncio.TaskGroup() as tasks:
            for error in errors:
                tasks.create_task(fail(error))

    return hook


@each_shape
@pytest.mark.parametrize("nested", [False, True])
async def test_a_group_of_one_error_is_that_error(
    echo: EchoServer, logs: list[EventDict], call: Shape, *, nested: bool
) -> None:
    """An error that a task group wraps in a group, or in nested groups, reaches the caller unchanged."""
    error: Exception = RateLimited("Slow down.")
    echo.servicer.hook = in_tasks(ExceptionGroup("inner", [error]) if nested else error)

    with pytest.raises(RateLimited) as caught:
        await call(echo.stub())

    assert caught.value.message == "Slow down."
    assert [line["code"] for line in logs] == ["RESOURCE_EXHAUSTED"]


@pytest.mark.parametrize("call", [unary, client_stream, both_streams])
async def test_the_first_of_several_errors_is_the_answer(echo: EchoServer, call: Shape) -> None:
    """Of several errors in a group, the caller gets the first one."""
    echo.servicer.hook = in_tasks(RateLimited("First."), RateLimited("Second."), GymNotFound())

    with pytest.raises(RateLimited, match=r"First\."):
        await call(echo.stub())


async def test_a_group_with_an_unexpected_exception_is_internal(echo: EchoServer, logs: list[EventDict]) -> None:
    """A group with an unexpected exception is Internal to the caller, and the log contains all its errors."""
    echo.servicer.hook = in_tasks(RateLimited("First."), ValueError(SECRET))

    with pytest.raises(Internal):
        await echo.stub().Echo(HI)

    [line] = [line for line in logs if line["event"] == "internal error"]
    assert "First." in line["exception"]
    assert SECRET in line["exception"]


async def test_an_error_of_a_group_does_not_refer_to_the_group(echo: EchoServer) -> None:
    """An error raised from a group has no context or cause, so that no reference cycle holds the call's memory."""
    error = RateLimited("Slow down.")

    with pytest.raises(RateLimited):
        await raising(echo, ExceptionGroup("tasks", [error])).Echo(HI)

    assert (error.__context__, error.__cause__) == (None, None)
