from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from contracts.errors import (
    Cancelled,
    GymNotFound,
    Internal,
    InvalidRequest,
    MessageTooLarge,
    RateLimited,
    ServiceError,
    SlotTaken,
    Unavailable,
    UnknownError,
    Violation,
)
from interceptors.errors import STATUS_DETAILS, error_of_status, status_of_error
from solo60.example.v1 import echo_pb2
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from structlog.typing import EventDict

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

    Shape = Callable[[EchoServiceAsyncStub], Awaitable[object]]

SECRET = "postgres://user:hunter2@db"  # noqa: S105 - what must not leak
HI = echo_pb2.EchoRequest(text="hi")


async def many_requests(count: int = 3) -> AsyncIterator[echo_pb2.EchoEachRequest]:
    """Send more messages than a server reads that refuses at once."""
    for number in range(count):
        yield echo_pb2.EchoEachRequest(text=str(number))


async def unary(stub: EchoServiceAsyncStub) -> object:
    """Call with one message each way."""
    return await stub.Echo(HI)


async def server_stream(stub: EchoServiceAsyncStub) -> object:
    """Call with many answers."""
    return [answer async for answer in stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=2))]


async def client_stream(stub: EchoServiceAsyncStub) -> object:
    """Call with many requests."""
    return await stub.EchoJoined(echo_pb2.EchoJoinedRequest(text=each.text) async for each in many_requests())


async def both_streams(stub: EchoServiceAsyncStub) -> object:
    """Call with many messages each way."""
    return [answer async for answer in stub.EchoEach(many_requests())]


each_shape = pytest.mark.parametrize("call", [unary, server_stream, client_stream, both_streams])


def raising(echo: EchoServer, error: BaseException) -> EchoServiceAsyncStub:
    """Let every handler raise `error`; return a stub."""

    async def hook() -> None:
        raise error

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    return echo.stub()


@each_shape
async def test_the_caller_catches_the_class_that_the_servicer_raised(echo: EchoServer, call: Shape) -> None:
    """L2: one error type on both sides, with reason, sentence, facts, correlation id and callee."""
    stub = raising(echo, RateLimited("Slow down.", metadata={"limit": "3"}, retry_after_s=1.5))

    with pytest.raises(RateLimited) as caught:
        await call(stub)

    error = caught.value
    assert (error.code, error.message, error.retry_after_s) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "Slow down.", 1.5)
    assert error.metadata == {"limit": "3"}
    assert len(error.correlation_id) == 32
    assert error.callee.startswith("solo60.example.v1.EchoService/Echo")


@each_shape
async def test_an_unexpected_exception_is_a_bare_internal(echo: EchoServer, call: Shape, logs: list[EventDict]) -> None:
    """Nothing of the exception's text reaches the caller, but a correlation id does, and the log has both."""
    stub = raising(echo, ValueError(SECRET))

    with pytest.raises(Internal) as caught:
        await call(stub)

    rpc_error = caught.value.__cause__
    assert isinstance(rpc_error, grpc.aio.AioRpcError)
    trailing = rpc_error.trailing_metadata()
    assert SECRET not in f"{rpc_error.details()} {trailing} {rpc_error.debug_error_string()}"
    assert "ValueError" not in f"{rpc_error.details()} {trailing}"
    [line] = [line for line in logs if line["event"] == "internal error"]
    assert line["exception"].endswith(f"ValueError: {SECRET}")
    [access] = [line for line in logs if line["event"] == "call"]
    assert access["correlation_id"] == caught.value.correlation_id


async def test_a_declared_reason_is_told_and_an_undeclared_one_is_internal(echo: EchoServer) -> None:
    """A method answers with what its contract lists: Echo may say SLOT_TAKEN, and nothing of gyms."""
    with pytest.raises(SlotTaken):
        await raising(echo, SlotTaken()).Echo(HI)

    with pytest.raises(Internal):
        await raising(echo, GymNotFound("Gym 7 is gone.")).Echo(HI)


@pytest.mark.parametrize(
    ("answer_of_callee", "told"),
    [
        ("UNAVAILABLE", Unavailable),
        ("RATE_LIMITED", Unavailable),
        ("DEADLINE_EXCEEDED", Unavailable),
        ("UNAUTHENTICATED", Internal),
        ("SCOPE_MISSING", Internal),
        ("INVALID_REQUEST", Internal),
        ("INTERNAL", Internal),
        ("UNIMPLEMENTED", Internal),
        ("SLOT_TAKEN", SlotTaken),
        ("GYM_NOT_FOUND", Internal),
    ],
)
async def test_a_failure_of_a_called_service_is_told_as_ours(
    echo: EchoServer, answer_of_callee: str, told: type[ServiceError]
) -> None:
    """What is wrong between us and a service we call is not the caller's fault, and says nothing of that service."""
    received = ServiceError.by_reason[answer_of_callee]("Of the other service.")
    received.callee = "solo60.gym.v1.GymService/GetGym"

    with pytest.raises(told) as caught:
        await raising(echo, received).Echo(HI)

    assert type(caught.value) is told
    assert ("Of the other service." in caught.value.message) == (told is SlotTaken)


async def test_a_status_of_another_service_does_not_pass_through(echo: EchoServer) -> None:
    """An error of a bare gRPC stub, used past our chain, is a fault like any other."""
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata(), SECRET)

    with pytest.raises(Internal) as caught:
        await raising(echo, error).Echo(HI)

    assert SECRET not in caught.value.message


@each_shape
async def test_a_handler_that_raises_cancelled_answers_all_the_same(echo: EchoServer, call: Shape) -> None:
    """grpc.aio would leave the caller waiting until its deadline."""
    stub = raising(echo, asyncio.CancelledError())

    with pytest.raises(Internal):
        await call(stub)


async def test_malformed_bytes_are_a_bad_request(echo: EchoServer) -> None:
    """The caller is told so without the parser's words, and no handler runs."""
    call: Any = echo.bare_channel().unary_unary("/solo60.example.v1.EchoService/Echo")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff", metadata=(("x-api-key", echo.key),))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "The request is not a well-formed message of its type."
    assert echo.servicer.entered == 0


async def test_malformed_bytes_in_a_stream_are_a_bad_request(echo: EchoServer) -> None:
    """Also where the handler reads them itself."""
    # A failed write would make grpc.aio replace the status of a refusal by an INTERNAL of its own.
    call: Any = echo.bare_channel().unary_stream("/solo60.example.v1.EchoService/EchoEach")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call(b"\xff\xff", metadata=(("x-api-key", echo.key),)):
            pass

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_answer_of_another_type_is_our_fault(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """A handler that answers with the wrong message, or with none, is a bug, and is logged as one."""

    class Wrong(EchoServicer):
        answer: object = None

        async def Echo(self, request: object, context: object) -> Any:  # noqa: ANN401, ARG002, N802 - as generated
            return self.answer

    servicer = Wrong()  # type: ignore[abstract]  # Promise is but promised
    stub = (await serve_echo(servicer)).stub()

    for servicer.answer in (None, echo_pb2.KeepResponse()):
        with pytest.raises(Internal):
            await stub.Echo(HI)
        assert type(servicer.answer).__name__ in logs[-1]["exception"]


async def test_violations_reach_the_caller_field_by_field(echo: EchoServer) -> None:
    """C3: also those that a servicer finds itself."""
    violations = [Violation("period.end", "must be a full hour"), Violation("text", "must rhyme")]

    with pytest.raises(InvalidRequest) as caught:
        await raising(echo, InvalidRequest("No.", violations=violations)).Echo(HI)

    assert list(caught.value.violations) == violations


async def test_the_status_is_what_every_grpc_client_understands(echo: EchoServer) -> None:
    """AIP-193: google.rpc.Status with ErrorInfo, in the standard trailer."""
    stub = raising(echo, SlotTaken("Taken.", metadata={"gym": "7"}))
    with pytest.raises(SlotTaken) as caught:
        await stub.Echo(HI)
    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)

    raw = caught.value.__cause__.trailing_metadata()[STATUS_DETAILS]

    assert isinstance(raw, bytes)
    status = status_pb2.Status.FromString(raw)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message) == (grpc.StatusCode.ALREADY_EXISTS.value[0], "Taken.")
    assert (info.reason, info.domain, info.metadata["gym"]) == ("SLOT_TAKEN", "solo60", "7")


def test_a_reason_of_a_newer_contract_is_an_unknown_error() -> None:
    """A caller built before the reason existed still gets code and sentence."""
    error = SlotTaken("Taken.")
    status = status_of_error(error, "correlation-1")
    info = error_details_pb2.ErrorInfo(reason="FROM_THE_FUTURE", domain="solo60")
    status.details[0].Pack(info)
    trailing = grpc.aio.Metadata((STATUS_DETAILS, status.SerializeToString()))

    received = error_of_status(grpc.StatusCode.ALREADY_EXISTS, "Taken.", trailing, "a/B")

    assert type(received) is UnknownError
    assert (received.code, received.message, received.callee) == (grpc.StatusCode.ALREADY_EXISTS, "Taken.", "a/B")


@pytest.mark.parametrize("trailing", [None, grpc.aio.Metadata(), grpc.aio.Metadata((STATUS_DETAILS, b"\xff\xff"))])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.CANCELLED, Cancelled),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, MessageTooLarge),
        (grpc.StatusCode.DATA_LOSS, UnknownError),
    ],
)
def test_a_status_without_details_is_the_transports_own(
    code: grpc.StatusCode, expected: type[ServiceError], trailing: grpc.aio.Metadata | None
) -> None:
    """GRPC itself answers without details, and a broken detail is no reason to fail."""
    received = error_of_status(code, None, trailing, "a/B")

    assert type(received) is expected
    assert received.code is code


@pytest.mark.parametrize("kind", ["ErrorInfo", "BadRequest", "RetryInfo"])
def test_a_malformed_detail_is_as_good_as_none(kind: str) -> None:
    """A callee that writes nonsense into its status gets its call ended like any other."""
    status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0])
    status.details.add(type_url=f"type.googleapis.com/google.rpc.{kind}", value=b"\xff\xff")
    trailing = grpc.aio.Metadata((STATUS_DETAILS, status.SerializeToString()))

    received = error_of_status(grpc.StatusCode.UNAVAILABLE, "Gone.", trailing, "a/B")

    assert (type(received), received.message, received.retry_after_s) == (Unavailable, "Gone.", None)


async def test_a_service_that_is_not_there_is_unavailable(echo: EchoServer) -> None:
    """The same class whether a service says so or nobody answers."""
    stub = echo.stub()
    await echo.shut_down()

    with pytest.raises(Unavailable) as caught:
        await stub.Echo(HI)

    assert caught.value.callee == "solo60.example.v1.EchoService/Echo"


async def test_an_answer_of_grpcs_own_services_passes(
    echo: EchoServer, caplog: pytest.LogCaptureFixture, logs: list[EventDict]
) -> None:
    """grpc.health.v1 answers NOT_FOUND for a service it does not know: no fault of ours, and not logged as one."""
    stub: Any = HealthStub(echo.channel())

    with caplog.at_level(logging.ERROR), pytest.raises(UnknownError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))

    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert [line for line in logs if line["log_level"] == "error"] == []
    # asyncio may log the error of an earlier test's task, when that task is collected.
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_an_unknown_method_is_unimplemented(echo: EchoServer) -> None:
    """GRPC's own answer: there is no contract to look up."""
    call: Any = echo.bare_channel().unary_unary("/solo60.example.v1.EchoService/Nothing")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
