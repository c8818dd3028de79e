"""Faults in every method of a service: calls that get lost, and answers that are lost or late."""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from grpc_interceptor import AsyncServerInterceptor

from contracts.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable


class FaultKind(StrEnum):
    """Kinds of faults."""

    NONE = "no fault"
    CALL_LOST = "call lost"
    ANSWER_LOST = "answer lost"
    ANSWER_LATE = "answer late"


# Four failures are one more than gRPC's own retries cover, so the caller must repeat the call. A late answer costs its
# whole deadline, so it happens once.
TIMES = {FaultKind.NONE: 0, FaultKind.CALL_LOST: 4, FaultKind.ANSWER_LOST: 4, FaultKind.ANSWER_LATE: 1}


class FirstCallsFail(AsyncServerInterceptor):
    """Interceptor that breaks the first calls of each method. `broken` counts the broken calls by method."""

    def __init__(self, kind: FaultKind) -> None:
        self._kind = kind
        self.broken: Counter[str] = Counter()

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        # A failed health check would make all methods of the service unreachable for a while.
        if not method_name.startswith("/solo60.") or self.broken[method_name] >= TIMES[self._kind]:
            answer = method(request_or_iterator, context)
            return answer if hasattr(answer, "__aiter__") else await answer
        self.broken[method_name] += 1
        if self._kind is FaultKind.CALL_LOST:
            raise Unavailable("The test cut the call off.")
        answer = await method(request_or_iterator, context)
        if self._kind is FaultKind.ANSWER_LOST:
            raise Unavailable("The test lost the answer.")
        await asyncio.Event().wait()  # until the deadline of the call
        return answer
