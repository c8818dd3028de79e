from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from contracts.errors import ServiceError, Unavailable
from solo60.example.v1 import echo_pb2
from tests.support.echo import EchoServicer
from tests.support.engines import needs_pushback
from tests.support.retries import retrying_stub

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
HOPS = 3
LONG = pytest.mark.soak
AT_ONCE = 10


async def raise_unavailable() -> None:
    """Raise Unavailable."""
    raise Unavailable


def forward_to(stub: EchoServiceAsyncStub) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return a hook that calls the next service, and fails if that call fails."""

    async def hook() -> None:
        await stub.Echo(HI)

    return hook


async def count_successes(stub: EchoServiceAsyncStub, calls: int) -> int:
    """Make this many calls, AT_ONCE of them at a time, and return the number of successful ones."""
    left = iter(range(calls))

    async def caller() -> int:
        good = 0
        for number in left:
            try:
                await stub.Echo(echo_pb2.EchoRequest(text=str(number)))
            except ServiceError:
                continue
            good += 1
        return good

    return sum(await asyncio.gather(*[caller() for _ in range(AT_ONCE)]))


@needs_pushback
@pytest.mark.parametrize("calls", [300, pytest.param(3000, marks=LONG)])
async def test_an_outage_of_the_last_service_is_not_amplified(serve_echo: ServeEcho, calls: int) -> None:
    """During an outage of the last of three services, it gets at most 1.10 attempts per call. The others get one."""
    servers = [await serve_echo() for _ in range(HOPS)]
    servers[-1].servicer.hook = raise_unavailable
    async with AsyncExitStack() as stack:
        for server, following in pairwise(servers):
            stub = await stack.enter_async_context(retrying_stub(following))
            server.servicer.hook = forward_to(stub)
        first = await stack.enter_async_context(retrying_stub(servers[0]))

        assert await count_successes(first, calls) == 0

    attempts = [calls, *(server.servicer.entered for server in servers)]
    per_hop = [after / before for before, after in pairwise(attempts)]
    assert per_hop[:-1] == [1.0] * (HOPS - 1)
    assert 1.0 < per_hop[-1] <= 1.10
    assert attempts[-1] / attempts[0] <= 1.35


class UnreliableServicer(EchoServicer):
    """Echo servicer that rejects 5 % of the attempts: the same ones in each run, in any order of arrival."""

    def __init__(self) -> None:
        super().__init__()
        self._attempts: Counter[str] = Counter()

    async def Echo(self, request: echo_pb2.EchoRequest, context: Any) -> echo_pb2.EchoResponse:
        """Return the text, or raise Unavailable."""
        self._attempts[request.text] += 1
        answer = await super().Echo(request, context)
        if Random(f"{request.text}/{self._attempts[request.text]}").random() < 0.05:  # noqa: S311 - no secret is drawn
            raise Unavailable
        return answer


@pytest.mark.parametrize("calls", [1000, pytest.param(20_000, marks=LONG)])
async def test_retries_hide_a_few_random_failures(serve_echo: ServeEcho, calls: int) -> None:
    """If 5 % of the attempts fail, 99.9 % of the calls succeed, with at most 1.07 attempts per call."""
    echo = await serve_echo(UnreliableServicer())
    async with retrying_stub(echo) as stub:
        good = await count_successes(stub, calls)

    assert good >= 0.999 * calls
    assert 1.02 * calls < echo.servicer.entered <= 1.07 * calls
