"""Application interceptors, written for the grpc-interceptor package and applied once per method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from interceptors.chain.immediate import immediate_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grpc_interceptor.server import AsyncServerInterceptor

_SUSPENDED = "intercept_service of an application interceptor must not await, because it runs before any call."


@dataclass(frozen=True)
class MethodDetails(grpc.HandlerCallDetails):
    """Call details for choosing a handler before any call exists."""

    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...] = ()


def wrap_handler(
    application: Sequence[AsyncServerInterceptor], path: str, handler: grpc.RpcMethodHandler[Any, Any]
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return `handler` wrapped in the `application` interceptors, first one outermost.

    Application interceptors depend only on the method's name, so each is asked once per method.
    """
    for interceptor in reversed(application):
        composing = interceptor.intercept_service(partial(_return_handler, handler), MethodDetails(path))
        handler = immediate_result(composing, _SUSPENDED)
    return handler


async def _return_handler(
    handler: grpc.RpcMethodHandler[Any, Any], _details: grpc.HandlerCallDetails
) -> grpc.RpcMethodHandler[Any, Any]:
    return handler
