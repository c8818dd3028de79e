"""Faults: a service whose answers are lost, late or never given, at one of its methods."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from grpc_interceptor import AsyncServerInterceptor
from grpc_interceptor.exceptions import FailedPrecondition

from contracts.errors import Unavailable
from tests.services.session.town import SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services.session.town import Town


class When(StrEnum):
    """What is wrong with a call."""

    BEFORE = "it is not reached"
    AFTER = "it does its work, and the answer is lost"
    LATE = "it does its work, and answers after its caller's deadline"
    REFUSED = "it refuses for good"


class Fault(AsyncServerInterceptor):
    """Breaks the first `times` calls of a method; `is_open` lets a call that is late go on, and with it all others."""

    def __init__(self, method: str, when: When, times: int) -> None:
        self._method = method
        self._when = when
        self.left = times
        self.reached = asyncio.Event()
        self.is_open = asyncio.Event()

    async def intercept(
        self,
        method: Callable[..., Any],
        request_or_iterator: Any,  # noqa: ANN401 - as its base class
        context: Any,  # noqa: ANN401 - as its base class
        method_name: str,
    ) -> Any:  # noqa: ANN401 - as its base class
        if self.left == 0 or not method_name.endswith(f"/{self._method}"):
            answer = method(request_or_iterator, context)
            return answer if hasattr(answer, "__aiter__") else await answer
        self.left -= 1
        if self._when is When.REFUSED:
            raise FailedPrecondition("It is against the rules.")
        if self._when is When.BEFORE:
            raise Unavailable("The way is cut off.")
        answer = await method(request_or_iterator, context)
        self.reached.set()
        if self._when is When.AFTER:
            raise Unavailable("The answer is lost.")
        await self.is_open.wait()
        return answer


async def break_service(town: Town, name: str, method: str, when: When, times: int = 4) -> Fault:
    """Start a service anew with a fault: by default in so many calls that gRPC's own retries do not get over it."""
    fault = Fault(method, when, times)
    await town.stop(name)
    await town.mesh.start(replace(SERVICES[name], interceptors=(fault,)), town.urls[name])
    return fault
