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
from contracts.metadata import STATUS_DETAILS
from contracts.status import error_of_status, status_of_error
from solo60.example.v1 import echo_pb2
from tests.support.call_shapes import (
    HI,
    each_shape,
    raising,
)
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from tests.support.call_shapes import Shape
    from tests.support.echo_server import EchoServer, ServeEcho


SECRET = "postgres://user:hunter2@db"  # noqa: S105 - must not leak


@pytest.mark.requirement("L2")
@each_shape
async def test_the_caller_catches_the_error_of_the_servicer(echo: EchoServer, call: Shape) -> None:
    """The caller catches the servicer's error class with message, metadata, retry delay, correlation id and callee."""
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
    """An unexpected exception reaches the caller as Internal without its text.

    The log has the text and the correlation id.
    """
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


async def test_an_undeclared_reason_is_internal(echo: EchoServer) -> None:
    """An error that the method's contract declares reaches the caller, and an undeclared one becomes Internal."""
    with pytest.raises(SlotTaken):
        await raising(echo, SlotTaken()).Echo(HI)

    with pytest.raises(Internal):
        await raising(echo, GymNotFound("Gym 7 is gone.")).Echo(HI)


@pytest.mark.parametrize(
    ("answer_of_callee", "reported"),
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
async def test_a_platform_error_of_a_callee_is_translated(
    echo: EchoServer, answer_of_callee: str, reported: type[ServiceError]
) -> None:
    """A callee's error reaches our caller as Unavailable or Internal, without the callee's message.

    Only a reason that our method declares passes unchanged.
    """
    received = ServiceError.by_reason[answer_of_callee]("Of the other service.")
    received.callee = "solo60.gym.v1.GymService/GetGym"

    with pytest.raises(reported) as caught:
        await raising(echo, received).Echo(HI)

    assert type(caught.value) is reported
    assert ("Of the other service." in caught.value.message) == (reported is SlotTaken)


async def test_a_bare_grpc_error_is_internal(echo: EchoServer) -> None:
    """An error of a bare gRPC stub in a handler reaches the caller as Internal, without its details."""
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata(), SECRET)

    with pytest.raises(Internal) as caught:
        await raising(echo, error).Echo(HI)

    assert SECRET not in caught.value.message


@each_shape
async def test_a_handler_that_raises_cancelled_is_answered(echo: EchoServer, call: Shape) -> None:
    """A handler that raises CancelledError is answered as Internal.

    grpc.aio alone would let the caller wait until its deadline.
    """
    stub = raising(echo, asyncio.CancelledError())

    with pytest.raises(Internal):
        await call(stub)


async def test_malformed_bytes_are_a_bad_request(echo: EchoServer) -> None:
    """A malformed request is INVALID_ARGUMENT without the parser's message and enters no handler."""
    call: Any = echo.bare_channel().unary_unary("/solo60.example.v1.EchoService/Echo")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff", metadata=(("x-api-key", echo.key),))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "The request is not a well-formed message of its type."
    assert echo.servicer.entered == 0


async def test_malformed_bytes_in_a_stream_are_a_bad_request(echo: EchoServer) -> None:
    """A malformed request in a stream is INVALID_ARGUMENT, although the handler reads it itself."""
    # unary_stream needs no separate write. After a failed write, grpc.aio replaces the status by INTERNAL.
    call: Any = echo.bare_channel().unary_stream("/solo60.example.v1.EchoService/EchoEach")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call(b"\xff\xff", metadata=(("x-api-key", echo.key),)):
            pass

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_answer_of_the_wrong_type_is_internal(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """An answer that is missing or of the wrong type is Internal, and the log names its type."""

    class WrongResponseServicer(EchoServicer):
        answer: object = None

        async def Echo(self, request: object, context: object) -> Any:
            return self.answer

    servicer = WrongResponseServicer()
    stub = (await serve_echo(servicer)).stub()

    for servicer.answer in (None, echo_pb2.KeepResponse()):
        with pytest.raises(Internal):
            await stub.Echo(HI)
        assert type(servicer.answer).__name__ in logs[-1]["exception"]


@pytest.mark.requirement("C3")
async def test_violations_reach_the_caller_field_by_field(echo: EchoServer) -> None:
    """The field violations that a servicer raises reach the caller."""
    violations = [Violation("period.end", "must be a full hour"), Violation("text", "must rhyme")]

    with pytest.raises(InvalidRequest) as caught:
        await raising(echo, InvalidRequest("No.", violations=violations)).Echo(HI)

    assert list(caught.value.violations) == violations


async def test_an_error_is_a_standard_grpc_status(echo: EchoServer) -> None:
    """An error is sent as google.rpc.Status with ErrorInfo in the standard trailer (AIP-193)."""
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
    """An unknown reason becomes UnknownError with code, message and callee."""
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
def test_a_status_without_details_maps_by_code(
    code: grpc.StatusCode, expected: type[ServiceError], trailing: grpc.aio.Metadata | None
) -> None:
    """A status with no or broken details is translated by its code."""
    received = error_of_status(code, None, trailing, "a/B")

    assert type(received) is expected
    assert received.code is code


@pytest.mark.parametrize("kind", ["ErrorInfo", "BadRequest", "RetryInfo"])
def test_a_malformed_detail_is_ignored(kind: str) -> None:
    """A malformed status detail is ignored, and the error has the code and message of the status."""
    status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0])
    status.details.add(type_url=f"type.googleapis.com/google.rpc.{kind}", value=b"\xff\xff")
    trailing = grpc.aio.Metadata((STATUS_DETAILS, status.SerializeToString()))

    received = error_of_status(grpc.StatusCode.UNAVAILABLE, "Gone.", trailing, "a/B")

    assert (type(received), received.message, received.retry_after_s) == (Unavailable, "Gone.", None)


async def test_an_unreachable_service_is_unavailable(echo: EchoServer) -> None:
    """A call to a stopped server raises Unavailable with the callee's name."""
    stub = echo.stub()
    await echo.shut_down()

    with pytest.raises(Unavailable) as caught:
        await stub.Echo(HI)

    assert caught.value.callee == "solo60.example.v1.EchoService/Echo"


async def test_an_error_of_grpcs_own_services_passes(
    echo: EchoServer, caplog: pytest.LogCaptureFixture, logs: list[EventDict]
) -> None:
    """NOT_FOUND of the health service reaches the caller and is not logged as an error."""
    stub: Any = HealthStub(echo.channel())

    with caplog.at_level(logging.ERROR), pytest.raises(UnknownError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))

    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert [line for line in logs if line["log_level"] == "error"] == []
    # A failed task of an earlier test may be collected and logged at this moment, so only gRPC's records count.
    assert [record for record in caplog.records if record.name.partition(".")[0] == "grpc"] == []


async def test_an_unknown_method_is_unimplemented(echo: EchoServer) -> None:
    """A call to an unknown method is UNIMPLEMENTED."""
    call: Any = echo.bare_channel().unary_unary("/solo60.example.v1.EchoService/Nothing")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
