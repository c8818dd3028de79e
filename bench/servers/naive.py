"""Naive stack: packages combined as their documentation shows.

The stack has six interceptors of grpc-interceptor (errors, log, API key and scopes, deadline, rate limit, protovalidate
in both directions) and OpenTelemetry's own. The stack does less than our chain: no metrics, no shedding, and no checks
of a key's form and age. `python -m bench.servers.naive NAME PORT`.
"""

# ruff: noqa: ANN401, ARG002 - as in grpc-interceptor

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import protovalidate
import structlog
from grpc_interceptor import AsyncServerInterceptor
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.sdk.trace import TracerProvider

from bench.servers.echo import echo, serve_forever
from bench.spans import count_spans
from bench.tally import Tally
from bench.workspace import KEYRING, SCOPES
from solo60.example.v1.echo_pb2_grpc import add_EchoServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DURATION_S = 2.0
CALLS_PER_SECOND = 1_000_000.0


class Rejected(Exception):
    """Error of an interceptor that rejects a call."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Errors(AsyncServerInterceptor):
    """Interceptor that sends raised errors as a status."""

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        try:
            return await method(request_or_iterator, context)
        except Rejected as rejected:
            await context.abort(rejected.code, rejected.message)


class Log(AsyncServerInterceptor):
    """Interceptor that writes a line of JSON per call."""

    def __init__(self) -> None:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.WriteLoggerFactory(sys.stdout),
            cache_logger_on_first_use=True,
        )
        self._log = structlog.get_logger()

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        began = time.perf_counter()
        correlation_id = dict(context.invocation_metadata()).get("x-correlation-id", "")
        context.set_trailing_metadata((("x-correlation-id", correlation_id),))
        reply = await method(request_or_iterator, context)
        duration_ms = round((time.perf_counter() - began) * 1000, 2)
        self._log.info("call", method=method_name, correlation_id=correlation_id, duration_ms=duration_ms)
        return reply


class ApiKey(AsyncServerInterceptor):
    """Interceptor that rejects calls without a key or without its scopes."""

    def __init__(self) -> None:
        keys = json.loads(KEYRING.read_text(encoding="utf-8"))["keys"]
        self._scopes = {record["sha256"]: frozenset(record["scopes"]) for record in keys}

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        key = dict(context.invocation_metadata()).get("x-api-key", "")
        scopes = self._scopes.get(hashlib.sha256(key.encode()).hexdigest())
        if scopes is None:
            raise Rejected(grpc.StatusCode.UNAUTHENTICATED, "no valid key")
        if not scopes.issuperset(SCOPES):
            raise Rejected(grpc.StatusCode.PERMISSION_DENIED, "scope missing")
        return await method(request_or_iterator, context)


class Deadline(AsyncServerInterceptor):
    """Interceptor that ends calls at their deadline."""

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        budget_s = min(MAX_DURATION_S, context.time_remaining() or MAX_DURATION_S)
        try:
            return await asyncio.wait_for(method(request_or_iterator, context), budget_s)
        except TimeoutError:
            raise Rejected(grpc.StatusCode.DEADLINE_EXCEEDED, "too late") from None


class RateLimit(AsyncServerInterceptor):
    """Interceptor with a token bucket per key."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        key = dict(context.invocation_metadata()).get("x-api-key", "")
        now = time.monotonic()
        tokens, filled = self._buckets.get(key, (CALLS_PER_SECOND, now))
        tokens = min(CALLS_PER_SECOND, tokens + (now - filled) * CALLS_PER_SECOND)
        if tokens < 1:
            raise Rejected(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls")
        self._buckets[key] = (tokens - 1, now)
        return await method(request_or_iterator, context)


class Validation(AsyncServerInterceptor):
    """Interceptor that checks requests and responses against the rules of the contract."""

    async def intercept(
        self, method: Callable[..., Any], request_or_iterator: Any, context: Any, method_name: str
    ) -> Any:
        try:
            protovalidate.validate(request_or_iterator)
        except protovalidate.ValidationError as error:
            raise Rejected(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        reply = await method(request_or_iterator, context)
        protovalidate.validate(reply)
        return reply


async def serve(name: str, port: int) -> None:
    tracers = TracerProvider()
    count_spans(tracers)
    trace.set_tracer_provider(tracers)
    stack = [aio_server_interceptor(), Errors(), Log(), ApiKey(), Deadline(), RateLimit(), Validation()]
    server = grpc.aio.server(interceptors=stack)
    add_EchoServiceServicer_to_server(echo(Tally(name)), server)
    await serve_forever(server, port)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
