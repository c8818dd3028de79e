"""Iterators of requests that callers pass to streaming calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from interceptors.chain.channel import ChainedChannel
from interceptors.keys.interceptor import API_KEY
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.chain.calls_in_states import ONE_EACH, ONE_JOINED, SHORT_S, RequestIterator, fail
from tests.support.begun_calls import until_ended
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from tests.support.echo_server import EchoServer

    Action = Callable[[Any], Awaitable[object]]


@pytest.mark.parametrize("iterated", [ONE_JOINED, ONE_EACH])
async def test_client_streams_take_arguments_by_name_and_position(echo: EchoServer, iterated: Message) -> None:
    """Calls with a stream of requests accept requests and options by position and by name, like those of grpc.aio."""
    metadata = ((API_KEY, echo.key),)
    for channel in (echo.bare_channel(), ChainedChannel(echo.bare_channel(), [])):
        stub: Any = EchoServiceStub(channel)
        begin = stub.EchoJoined if iterated is ONE_JOINED else stub.EchoEach

        by_name = begin(request_iterator=RequestIterator(iterated, last=True), timeout=30.0, metadata=metadata)
        by_position = begin(RequestIterator(iterated, last=True), 30.0, metadata, None, True, None)  # noqa: FBT003 - on purpose

        assert [await answer_of(by_name), await answer_of(by_position)] == ["hi", "hi"]
        assert 0 <= by_position.time_remaining() <= 30


async def answer_of(call: Any) -> str:
    """Return the text of the only answer."""
    if hasattr(call, "read"):
        [answer] = [each.text async for each in call]
        return str(answer)
    return str((await call).text)


async def cancel_reader(call: Any, waiting: asyncio.Task[object], _channel: Any) -> None:
    """Cancel the only reader of a call."""
    del call
    waiting.cancel()


async def cancel(call: Any, _waiting: asyncio.Task[object], _channel: Any) -> None:
    """Cancel a call."""
    call.cancel()


async def close(_call: Any, _waiting: asyncio.Task[object], channel: Any) -> None:
    """Close the channel under a call."""
    await channel.close()


async def let_end(_call: Any, _waiting: asyncio.Task[object], _channel: Any) -> None:
    """Let a call end by itself."""


@pytest.mark.parametrize("request_", [ONE_JOINED, ONE_EACH], ids=["requests", "both"])
@pytest.mark.parametrize(
    ("hook", "timeout_s", "end"),
    [
        (Endless, SHORT_S, let_end),
        (lambda: fail, None, let_end),
        (Endless, None, cancel),
        (Endless, None, cancel_reader),
        (Endless, None, close),
    ],
    ids=["expires", "fails", "is cancelled", "reader is cancelled", "channel is closed"],
)
async def test_the_request_iterator_of_an_ended_call_is_closed(
    echo: EchoServer,
    request_: Message,
    hook: Callable[[], Any],
    timeout_s: float | None,
    end: Callable[..., Awaitable[None]],
) -> None:
    """However a call ends, its request iterator is closed and the task that waits for the next request ends."""
    before = asyncio.all_tasks()
    requests = RequestIterator(request_, last=False)
    channel = ChainedChannel(echo.bare_channel(), [])
    stub: Any = EchoServiceStub(channel)
    hook_instance = hook()
    echo.servicer.hook = hook_instance
    begin = stub.EchoJoined if request_ is ONE_JOINED else stub.EchoEach
    call = begin(requests, timeout=timeout_s, metadata=((API_KEY, echo.key),))
    waiting = asyncio.create_task(answer_of(call))
    if isinstance(hook_instance, Endless) and timeout_s is None:
        await hook_instance.entered.wait()

    await end(call, waiting, channel)

    async with asyncio.timeout(30):
        await asyncio.gather(waiting, return_exceptions=True)
        await requests.ended.wait()
    await echo.stop()
    await until_ended(asyncio.all_tasks() - before)
