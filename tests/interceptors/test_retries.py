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


async def refuse() -> None:
    """Answer UNAVAILABLE."""
    raise Unavailable


def chained(stub: EchoServiceAsyncStub) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return a hook that calls the next service and hands on how that ends."""

    async def hook() -> None:
        await stub.Echo(HI)

    return hook


async def succeeded(stub: EchoServiceAsyncStub, calls: int) -> int:
    """Make this many calls, some at once, and count those that are answered."""
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
    """T-a2, T-a4: three hops away, at most 1.10 attempts arrive for each call at a hop, and 1.35 over all."""
    servers = [await serve_echo() for _ in range(HOPS)]
    servers[-1].servicer.hook = refuse  # type: ignore[method-assign]  # what the hook is for
    async with AsyncExitStack() as stack:
        for server, following in pairwise(servers):
            stub = await stack.enter_async_context(retrying_stub(following))
            server.servicer.hook = chained(stub)  # type: ignore[method-assign]  # what the hook is for
        first = await stack.enter_async_context(retrying_stub(servers[0]))

        assert await succeeded(first, calls) == 0

    attempts = [calls, *(server.servicer.entered for server in servers)]
    per_hop = [after / before for before, after in pairwise(attempts)]
    assert per_hop[:-1] == [1.0] * (HOPS - 1)
    assert 1.0 < per_hop[-1] <= 1.10
    assert attempts[-1] / attempts[0] <= 1.35


class Unsteady(EchoServicer):
    """Refuses 5 % of all attempts: the same attempts of the same calls in each run, in whatever order they come."""

    def __init__(self) -> None:
        super().__init__()
        self._attempts: Counter[str] = Counter()

    async def Echo(self, request: echo_pb2.EchoRequest, context: Any) -> echo_pb2.EchoResponse:  # noqa: ANN401, N802 - as generated
        """Say it back, or refuse."""
        self._attempts[request.text] += 1
        answer = await super().Echo(request, context)
        if Random(f"{request.text}/{self._attempts[request.text]}").random() < 0.05:  # noqa: S311 - no secret is drawn
            raise Unavailable
        return answer


@pytest.mark.parametrize("calls", [1000, pytest.param(20_000, marks=LONG)])
async def test_a_few_random_failures_are_not_noticed(serve_echo: ServeEcho, calls: int) -> None:
    """T-a3: 5 % of the attempts fail, 99.9 % of the calls succeed, and at most 1.07 attempts are made for each."""
    echo = await serve_echo(Unsteady())  # type: ignore[abstract]  # Promise is but promised
    async with retrying_stub(echo) as stub:
        good = await succeeded(stub, calls)

    assert good >= 0.999 * calls
    assert 1.02 * calls < echo.servicer.entered <= 1.07 * calls
