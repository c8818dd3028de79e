from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.errors import Internal, InvalidRequest
from contracts.malformed_times import malformed_times
from contracts.request_violations import unstorable_texts
from solo60.common.v1.period_pb2 import Period
from solo60.communication.v1.communication_pb2 import SendEmailRequest
from solo60.example.v1 import echo_pb2
from solo60.session.v1.session_pb2 import GetSessionResponse, ListUserSessionsResponse, Session
from solo60.user.v1.user_pb2 import BatchGetUsersRequest, UpdateUserRequest, User
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message
    from structlog.typing import EventDict

    from tests.support.echo_server import EchoServer, ServeEcho

NOON, BAD = Timestamp(seconds=1_767_268_800), Timestamp(nanos=-1)
SECRET = "not-an-address-of-anyone"  # noqa: S105 - must not leak


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (echo_pb2.EchoRequest(), ["text"]),
        (echo_pb2.EchoRequest(text="x" * 1001), ["text"]),
        (echo_pb2.EchoRequest(text="hi", email=SECRET), ["email"]),
        (echo_pb2.EchoRequest(email=SECRET), ["text", "email"]),
        (echo_pb2.EchoRequest(text="hi", period=Period(end_time=NOON)), ["period.start_time"]),
        (echo_pb2.EchoRequest(text="h\x00i"), ["text"]),
        (echo_pb2.EchoRequest(text="h\x00i", email=SECRET), ["text", "email"]),
    ],
)
async def test_an_invalid_request_is_rejected_with_its_fields(
    echo: EchoServer, request_: echo_pb2.EchoRequest, fields: list[str]
) -> None:
    """An invalid request gives one violation per field, without its value, and enters no handler."""
    with pytest.raises(InvalidRequest) as caught:
        await echo.stub().Echo(request_)

    assert [violation.field for violation in caught.value.violations] == fields
    assert all(violation.description for violation in caught.value.violations)
    assert len(caught.value.correlation_id) == 32
    assert SECRET not in f"{caught.value} {caught.value.violations} {caught.value.__cause__}"
    assert echo.servicer.entered == 0


@pytest.mark.requirement("C3")
async def test_a_rule_over_several_fields_names_their_message(echo: EchoServer) -> None:
    """A violated rule over several fields names the message that contains them."""
    period = Period(start_time=NOON, end_time=Timestamp(seconds=NOON.seconds - 3600))

    with pytest.raises(InvalidRequest) as caught:
        await echo.stub().Echo(echo_pb2.EchoRequest(text="hi", period=period))

    assert [violation.field for violation in caught.value.violations] == ["period"]


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    "time",
    [
        Timestamp(seconds=2**62),
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=-62_135_596_801),
        Timestamp(nanos=-1),
        Timestamp(nanos=1_000_000_000),
    ],
)
async def test_a_malformed_time_is_invalid(echo: EchoServer, time: Timestamp) -> None:
    """A timestamp outside of the years 1 to 9999 or with invalid nanos is InvalidRequest and its field is named."""
    with pytest.raises(InvalidRequest) as caught:
        await echo.stub().Echo(echo_pb2.EchoRequest(text="hi", period=Period(start_time=time, end_time=NOON)))

    assert [violation.field for violation in caught.value.violations] == ["period.start_time"]
    assert echo.servicer.entered == 0


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (ListUserSessionsResponse(sessions=[Session(), Session(create_time=BAD)]), ["sessions[1].create_time"]),
        (GetSessionResponse(session=Session(period=Period(end_time=BAD))), ["session.period.end_time"]),
        (User(create_time=Timestamp(seconds=-62_135_596_800), update_time=Timestamp(nanos=999_999_999)), []),
        (FileDescriptorProto(name="a type without times"), []),
    ],
)
def test_malformed_times_are_found_at_any_depth(message: Message, fields: list[str]) -> None:
    """Each malformed time in a message is reported with its path, at any depth."""
    assert [violation.field for violation in malformed_times(message)] == fields


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (UpdateUserRequest(user=User(time_zone="\x00")), ["user.time_zone"]),
        (BatchGetUsersRequest(user_ids=["1", "\x00", "3\x00"]), ["user_ids[1]", "user_ids[2]"]),
        (SendEmailRequest(variables={"name": "A\x00da", "price": "1"}), ["variables[]"]),
        (SendEmailRequest(variables={"na\x00me": "Ada"}), ["variables[]"]),
    ],
)
def test_texts_with_u0000_are_found_at_any_depth(request_: Message, fields: list[str]) -> None:
    """Each text with U+0000 is reported with its path, at any depth, because PostgreSQL cannot store the character."""
    violations = unstorable_texts(request_)

    assert [violation.field for violation in violations] == fields
    assert {violation.description for violation in violations} == {"must not contain the character U+0000"}


def test_zero_bytes_outside_of_texts_are_valid() -> None:
    """A zero byte in the encoding that is not part of a text is no violation."""
    request = echo_pb2.EchoRequest(text="hi", period=Period(start_time=Timestamp(), end_time=NOON))

    assert b"\x00" in request.SerializeToString()
    assert unstorable_texts(request) == []


@pytest.mark.requirement("C3")
async def test_each_message_of_a_stream_is_validated(echo: EchoServer) -> None:
    """The first invalid request of a stream ends the call, and the requests before it are answered."""
    answers: list[str] = []

    with pytest.raises(InvalidRequest) as caught:
        await collect(echo.stub().EchoEach(requests_of("a", "b", "", "c")), answers)

    assert answers == ["a", "b"]
    assert [violation.field for violation in caught.value.violations] == ["text"]


@pytest.mark.requirement("C3")
async def test_an_invalid_request_ends_an_iterating_handler(echo: EchoServer) -> None:
    """An invalid request ends a call even if its handler iterates over the requests."""

    async def requests() -> AsyncIterator[echo_pb2.EchoJoinedRequest]:
        yield echo_pb2.EchoJoinedRequest(text="a")
        yield echo_pb2.EchoJoinedRequest()

    with pytest.raises(InvalidRequest):
        await echo.stub().EchoJoined(requests())


class InvalidResponseServicer(EchoServicer):
    """Servicer with invalid answers."""

    async def Echo(self, request: Any, context: Any) -> echo_pb2.EchoResponse:
        """Answer without a text."""
        return echo_pb2.EchoResponse(caller=SECRET)

    async def EchoMany(self, request: Any, context: Any) -> AsyncIterator[echo_pb2.EchoManyResponse]:
        """Answer without a text the second time."""
        yield echo_pb2.EchoManyResponse(text="good")
        yield echo_pb2.EchoManyResponse()


@pytest.mark.requirement("C3")
async def test_an_invalid_answer_is_internal(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """An invalid answer is Internal to the caller without its content, and the log names field and rule."""
    stub = (await serve_echo(InvalidResponseServicer())).stub()

    with pytest.raises(Internal) as caught:
        await stub.Echo(echo_pb2.EchoRequest(text="hi"))

    assert caught.value.violations == ()
    assert SECRET not in f"{caught.value} {caught.value.__cause__}"
    [line] = [line for line in logs if line["event"] == "internal error"]
    assert "text must be at least 1 characters" in line["exception"]


@pytest.mark.requirement("C3")
async def test_an_invalid_answer_ends_a_stream(serve_echo: ServeEcho) -> None:
    """An invalid answer of a stream is not sent and ends the call, after the valid answers before it."""
    stub = (await serve_echo(InvalidResponseServicer())).stub()
    answers: list[str] = []

    with pytest.raises(Internal):
        await collect(stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=2)), answers)

    assert answers == ["good"]


async def collect(call: Any, texts: list[str]) -> None:
    """Collect the texts of the answers, including those before an error."""
    async for answer in call:
        texts += [answer.text]


async def requests_of(*texts: str) -> AsyncIterator[echo_pb2.EchoEachRequest]:
    """Yield a message for each text."""
    for text in texts:
        yield echo_pb2.EchoEachRequest(text=text)
