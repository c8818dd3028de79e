"""Faults in a service: answers of one method that are lost, late or never sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from grpc_interceptor import AsyncServerInterceptor
from grpc_interceptor.exceptions import FailedPrecondition

from contracts.errors import Unavailable
from tests.services.session.booking_mesh import SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services.session.booking_mesh import BookingMesh


class FaultKind(StrEnum):
    """Kinds of faults."""

    CALL_LOST = "the call does not arrive"
    ANSWER_LOST = "the answer is lost"
    ANSWER_LATE = "the answer comes after the deadline"
    CALL_REJECTED = "the call is rejected"


class Fault(AsyncServerInterceptor):
    """Interceptor that breaks the first `times` calls of a method. Setting `is_open` releases all late calls."""

    def __init__(self, method: str, kind: FaultKind, times: int) -> None:
        self._method = method
        self._kind = kind
        self.remaining = times
        self.reached = asyncio.Event()
        self.is_open = asyncio.Event()

    async def intercept(
        self,
        method: Callable[..., Any],
        request_or_iterator: Any,
        context: Any,
        method_name: str,
    ) -> Any:
        if self.remaining == 0 or not method_name.endswith(f"/{self._method}"):
            answer = method(request_or_iterator, context)
            return answer if hasattr(answer, "__aiter__") else await answer
        self.remaining -= 1
        if self._kind is FaultKind.CALL_REJECTED:
            raise FailedPrecondition("The test rejects this call.")
        if self._kind is FaultKind.CALL_LOST:
            raise Unavailable("The test cut the call off.")
        answer = await method(request_or_iterator, context)
        self.reached.set()
        if self._kind is FaultKind.ANSWER_LOST:
            raise Unavailable("The test lost the answer.")
        await self.is_open.wait()
        return answer


async def break_service(booking_mesh: BookingMesh, name: str, method: str, kind: FaultKind, times: int = 4) -> Fault:
    """Restart a service with a fault, by default in one call more than gRPC's own retries cover."""
    fault = Fault(method, kind, times)
    await booking_mesh.stop(name)
    await booking_mesh.mesh.start(replace(SERVICES[name], interceptors=(fault,)), booking_mesh.urls[name])
    return fault
