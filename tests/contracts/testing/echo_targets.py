"""Echo service twice: a real servicer behind the real interceptors, and a fake server with the same answers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from contracts.errors import IdempotencyKeyReused, SlotTaken
from contracts.testing import Caller, FakeServer
from interceptors.chain.channel import ChainedChannel
from interceptors.context import current_context
from interceptors.keys.keyring import mint_key
from mesh.config import Settings
from mesh.serving.channel import client_interceptors
from solo60.example.v1 import echo_pb2 as pb
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub

SCOPES = {"tester": frozenset({"example.echo", "example.keep"}), "reader": frozenset({"example.echo"})}
# Texts for which Echo does not answer: with an error of the contract, with a status, and never.
TAKEN, LOST, SLOW = "taken", "lost", "slow"
LOST_STATUS = grpc.StatusCode.NOT_FOUND
FIRST_KEY = "first-key"


class Target:
    """Echo service at an address, with a key for each caller of SCOPES."""

    def __init__(self) -> None:
        self.keys = {caller: mint_key("test") for caller in SCOPES}
        self.address = ""
        self._channels = AsyncExitStack()

    async def stub(self, caller: str = "tester") -> EchoServiceAsyncStub:
        """Return a stub with all client interceptors and the key of a caller; an unknown caller has an unknown key."""
        key = self.keys.get(caller, mint_key("test"))
        settings = Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic-settings' own argument
        channel = ChainedChannel(grpc.aio.insecure_channel(self.address), client_interceptors(settings, lambda: key))
        return EchoServiceStub(await self._channels.enter_async_context(channel))

    async def bare_stub(self) -> EchoServiceAsyncStub:
        """Return a stub without interceptors."""
        return EchoServiceStub(await self._channels.enter_async_context(grpc.aio.insecure_channel(self.address)))

    async def close(self) -> None:
        """Close every channel."""
        await self._channels.aclose()


class RealEcho(EchoServicer):
    """Echo servicer that rejects some texts, and stores a text once per idempotency key."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[tuple[str, str], pb.KeepRequest] = {}

    async def Echo(self, request: pb.EchoRequest, context: Any) -> pb.EchoResponse:
        if request.text == TAKEN:
            raise SlotTaken
        if request.text == LOST:
            await context.abort(LOST_STATUS, "")
        if request.text == SLOW:
            await asyncio.Event().wait()
        return pb.EchoResponse(text=request.text)

    async def Keep(self, request: pb.KeepRequest, context: Any) -> pb.KeepResponse:
        call = current_context()
        assert call is not None
        key = (call.caller, call.idempotency_key)
        call.replayed = key in self._kept
        if self._kept.setdefault(key, request) != request:
            raise IdempotencyKeyReused
        return pb.KeepResponse(idempotency_key=FIRST_KEY)


def script_like_the_real_one(fake: FakeServer) -> None:
    """Script a fake server to answer as `RealEcho` does."""
    echo = fake.of(EchoServiceStub)
    echo.Echo(request=pb.EchoRequest(text=TAKEN), error=SlotTaken())
    echo.Echo(request=pb.EchoRequest(text=LOST), error=LOST_STATUS)
    echo.Echo(request=pb.EchoRequest(text=SLOW), answer=pb.EchoResponse(text=SLOW), latency_s=60)
    echo.Echo(request=pb.EchoRequest(text="hi"), answer=pb.EchoResponse(text="hi"))
    echo.EchoMany(answers=[pb.EchoManyResponse(text="hi")] * 3)
    echo.EchoJoined(
        request=[pb.EchoJoinedRequest(text="a"), pb.EchoJoinedRequest(text="b")],
        answer=pb.EchoJoinedResponse(text="a b"),
    )
    echo.EchoEach(
        request=[pb.EchoEachRequest(text="a"), pb.EchoEachRequest(text="b")],
        answers=[pb.EchoEachResponse(text="a"), pb.EchoEachResponse(text="b")],
    )
    echo.Keep(answer=pb.KeepResponse(idempotency_key=FIRST_KEY), times=1)
    echo.Keep(answer=pb.KeepResponse(idempotency_key="another"))


def fake_of(target: Target) -> FakeServer:
    """Return a fake server that accepts the keys of a target."""
    return FakeServer([Caller(name, SCOPES[name], key) for name, key in target.keys.items()])
