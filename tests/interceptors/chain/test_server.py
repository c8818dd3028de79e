from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from interceptors.access_log import ServerAccessLog
from interceptors.chain.chained_server import ChainedServer
from interceptors.chain.server import ServerChain, ServerInterceptor
from interceptors.deadline.interceptor import ServerDeadline
from interceptors.propagation import ServerContext
from interceptors.validation.interceptor import ServerValidation
from solo60.example.v1 import echo_pb2
from tests.support.echo import EchoServicer
from tests.support.echo_serving import serving

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from interceptors.chain.call import Call, Proceed

HI = echo_pb2.EchoRequest(text="hi")
BAD = echo_pb2.EchoRequest(text="")


async def test_interceptors_work_without_a_chain() -> None:
    """Interceptors work in a grpc.aio server without a chain. A rejected call has its status without ServerErrors."""
    async with serving(ServerValidation(), ServerContext()) as stub:
        assert (await stub.Echo(HI)).text == "hi"
        with pytest.raises(grpc.aio.AioRpcError) as rejected:
            await stub.Echo(BAD)
    assert rejected.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_several_interceptors_in_one_server_become_one_chain(logs: list[EventDict]) -> None:
    """Several interceptors in one grpc.aio server act as one chain.

    Each call has one set of trailing metadata and one log line.
    """
    ours = (ServerContext(), ServerAccessLog(), ServerDeadline(), ServerValidation())
    async with serving(*ours) as stub:
        call: Any = stub.Echo(HI)
        assert (await call).text == "hi"
        assert [key for key, _ in await call.trailing_metadata()] == ["x-correlation-id", "x-deadline-ledger"]
        many = stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=2))
        assert [answer.text async for answer in many] == ["hi", "hi"]
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Echo(BAD)
    assert [line["code"] for line in logs if line["event"] == "call"] == ["OK", "OK", "INVALID_ARGUMENT"]


class ThirdPartyInterceptor(grpc.aio.ServerInterceptor):
    """Interceptor of another library that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Count the call and pass it on."""
        self.calls += 1
        return await continuation(handler_call_details)


async def test_interceptors_of_other_libraries_may_be_combined_with_ours() -> None:
    """An interceptor of another library is called for each call beside ours."""
    third_party = ThirdPartyInterceptor()
    async with serving(third_party, ServerContext(), ServerValidation()) as stub:
        await stub.Echo(HI)
        await stub.Echo(HI)
    assert third_party.calls == 2


class TrailingMetadataInterceptor(ServerInterceptor):
    """Interceptor that adds trailing metadata to each call."""

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        """Add the metadata."""
        call.trailing.append(("x-ours", "1"))
        return await proceed(call)


class TrailingMetadataServicer(EchoServicer):
    """Servicer that sets trailing metadata."""

    async def Echo(self, request: echo_pb2.EchoRequest, context: Any) -> echo_pb2.EchoResponse:
        """Set the metadata, and fail if the request asks for it."""
        context.set_trailing_metadata((("x-theirs", "2"),))
        if request.text == "fail":
            raise ValueError
        return echo_pb2.EchoResponse(text=request.text)


@pytest.mark.parametrize("text", ["hi", "fail"])
async def test_trailing_metadata_of_handler_and_chain_are_sent(text: str) -> None:
    """The trailing metadata of a handler is sent together with that of interceptors, also if the call fails."""
    async with serving(TrailingMetadataInterceptor(), servicer=TrailingMetadataServicer()) as stub:
        call: Any = stub.Echo(echo_pb2.EchoRequest(text=text))
        trailing = dict(await call.trailing_metadata())
        assert (await call.code() is grpc.StatusCode.OK) is (text == "hi")
    assert {"x-ours": "1", "x-theirs": "2"}.items() <= trailing.items()


@pytest.mark.requirement("S1")
async def test_a_chained_server_rejects_handlers_outside_of_its_chain() -> None:
    """A ChainedServer rejects handlers that would bypass its chain, because they would be served without a key."""
    server = ChainedServer(grpc.aio.server(), ServerChain([ServerContext()]))
    with pytest.raises(TypeError, match="not generic handlers"):
        server.add_generic_rpc_handlers([UnchainedHandler()])

    echo = echo_pb2.DESCRIPTOR.services_by_name["EchoService"].full_name
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(echo, {})])
    with pytest.raises(TypeError, match=echo):
        await server.start()


class UnchainedHandler(grpc.GenericRpcHandler):
    """Generic handler outside of any chain."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        """Serve nothing."""
