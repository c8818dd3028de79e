from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_interceptor import AsyncServerInterceptor
from grpc_interceptor.exceptions import GrpcException, NotFound

from contracts.errors import Internal, InvalidRequest, SlotTaken, Unauthenticated, Unimplemented, UnknownError
from interceptors.context import current_context
from solo60.example.v1 import echo_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
MANY = echo_pb2.EchoManyRequest(text="hi", repeat=2)


class RecordingInterceptor(AsyncServerInterceptor):
    """Unchanged interceptor of the grpc-interceptor package that records each call and passes it on."""

    def __init__(self, name: str = "", seen: list[tuple[Any, ...]] | None = None) -> None:
        self.name = name
        self.seen = seen if seen is not None else []

    async def intercept(
        self,
        method: Callable[..., Any],
        request_or_iterator: object,
        context: object,
        method_name: str,
    ) -> Any:
        """Pass the call on, as the base class documents."""
        call = current_context()
        self.seen.append((self.name, method_name, type(request_or_iterator).__name__, call.caller if call else ""))
        answer = method(request_or_iterator, context)
        return answer if hasattr(answer, "__aiter__") else await answer


class UpperCaseInterceptor(AsyncServerInterceptor):
    """Interceptor as an async generator that changes each answer of a stream."""

    async def intercept(
        self,
        method: Callable[..., Any],
        request_or_iterator: object,
        context: object,
        method_name: str,
    ) -> Any:
        """Answer in upper case."""
        async for answer in method(request_or_iterator, context):
            answer.text = answer.text.upper()
            yield answer


class RejectingInterceptor(AsyncServerInterceptor):
    """Interceptor that raises the given error for every call."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def intercept(self, *_arguments: object) -> Any:
        """Raise the error."""
        raise self.error


async def requests_of(*all_texts: str) -> AsyncIterator[echo_pb2.EchoJoinedRequest]:
    """Yield a message for each text."""
    for text in all_texts:
        yield echo_pb2.EchoJoinedRequest(text=text)


async def rejection_of(echo: EchoServer) -> Exception:
    """Return the error of a rejected call."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the tests check the type
        await echo.stub().Echo(HI)
    return caught.value


async def test_an_application_interceptor_wraps_every_shape(serve_echo: ServeEcho) -> None:
    """In every call shape, an application interceptor sees parsed messages, the method and the authenticated caller."""
    recording = RecordingInterceptor()
    stub = (await serve_echo(application=[recording])).stub()

    assert (await stub.Echo(HI)).text == "hi"
    assert [answer.text async for answer in stub.EchoMany(MANY)] == ["hi", "hi"]
    assert (await stub.EchoJoined(requests_of("a", "b"))).text == "a b"
    each = stub.EchoEach(echo_pb2.EchoEachRequest(text=request.text) async for request in requests_of("a", "b"))
    assert [answer.text async for answer in each] == ["a", "b"]

    service = "/solo60.example.v1.EchoService"
    assert recording.seen == [
        ("", f"{service}/Echo", "EchoRequest", "tester"),
        ("", f"{service}/EchoMany", "EchoManyRequest", "tester"),
        ("", f"{service}/EchoJoined", "async_generator", "tester"),
        ("", f"{service}/EchoEach", "async_generator", "tester"),
    ]


async def test_application_interceptors_run_in_order(serve_echo: ServeEcho) -> None:
    """The first application interceptor is the outermost, on every call."""
    seen: list[tuple[Any, ...]] = []
    stub = (
        await serve_echo(application=[RecordingInterceptor("outer", seen), RecordingInterceptor("inner", seen)])
    ).stub()

    await stub.Echo(HI)
    await stub.Echo(HI)

    assert [name for name, *_ in seen] == ["outer", "inner", "outer", "inner"]


async def test_an_interceptor_may_change_a_stream(serve_echo: ServeEcho) -> None:
    """An application interceptor that is an async generator may change the answers of a stream."""
    stub = (await serve_echo(application=[UpperCaseInterceptor()])).stub()

    assert [answer.text async for answer in stub.EchoMany(MANY)] == ["HI", "HI"]


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (NotFound("No such thing."), grpc.StatusCode.NOT_FOUND, "No such thing."),
        (GrpcException("Lost.", grpc.StatusCode.DATA_LOSS), grpc.StatusCode.DATA_LOSS, "Lost."),
    ],
)
async def test_a_grpc_exception_is_answered_with_its_status(
    serve_echo: ServeEcho, error: Exception, code: grpc.StatusCode, details: str
) -> None:
    """A GrpcException of an application interceptor is answered with its status and details."""
    caught = await rejection_of(await serve_echo(application=[RejectingInterceptor(error)]))

    assert type(caught) is UnknownError
    assert (caught.code, caught.message) == (code, details)
    assert len(caught.correlation_id) == 32


async def test_other_errors_are_answered_like_those_of_a_handler(serve_echo: ServeEcho) -> None:
    """A ServiceError of an application interceptor reaches the caller, and any other exception is Internal."""
    assert type(await rejection_of(await serve_echo(application=[RejectingInterceptor(SlotTaken())]))) is SlotTaken
    assert (
        type(await rejection_of(await serve_echo(application=[RejectingInterceptor(ValueError("secret"))]))) is Internal
    )


async def test_an_application_interceptor_gets_no_calls_that_the_mesh_rejects(serve_echo: ServeEcho) -> None:
    """Calls without a valid key, with an invalid request or to an unserved method reach no application interceptor."""
    recording = RecordingInterceptor()
    echo = await serve_echo(application=[recording])

    with pytest.raises(Unauthenticated):
        await echo.stub(key="none").Echo(HI)
    with pytest.raises(InvalidRequest):
        await echo.stub().Echo(echo_pb2.EchoRequest())
    with pytest.raises(Unimplemented):
        await echo.stub().Promise(echo_pb2.PromiseRequest())

    assert recording.seen == []
