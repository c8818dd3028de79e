"""Application interceptors: those of the grpc-interceptor package, put around a handler once for each method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from grpc_interceptor.server import AsyncServerInterceptor


@dataclass(frozen=True)
class MethodDetails(grpc.HandlerCallDetails):
    """Call details for an interceptor that is asked about a method before there is a call."""

    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...] = ()


def inside(
    application: Sequence[AsyncServerInterceptor], path: str, handler: grpc.RpcMethodHandler[Any, Any]
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return `handler` inside of `application`, the first outermost.

    Such an interceptor looks at nothing but the method's name, so it too is asked once for each method.
    """
    for interceptor in reversed(application):
        handler = _at_once(interceptor.intercept_service(partial(_give, handler), MethodDetails(path)))
    return handler


def _at_once(asking: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - a handler of any shape
    """Return the result of a coroutine that never suspends."""
    try:
        asking.send(None)
    except StopIteration as answer:
        return answer.value
    asking.close()
    raise TypeError("an application's interceptor must not wait for anything before there is a call")


async def _give(
    handler: grpc.RpcMethodHandler[Any, Any], _details: grpc.HandlerCallDetails
) -> grpc.RpcMethodHandler[Any, Any]:
    return handler
