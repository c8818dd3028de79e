"""Stub server with a fixed answer for each method, for tests without an event loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message

WATCH_PATH = "/grpc.health.v1.Health/Watch"


class Answer(NamedTuple):
    """Response message, trailing metadata and status code of one call."""

    message: Message
    trailing: tuple[tuple[str, str], ...] = ()
    code: grpc.StatusCode = grpc.StatusCode.OK


@contextmanager
def stub_server(address: str, answers: Mapping[str, Answer]) -> Iterator[None]:
    """Answer unary calls at `address` by path ("/solo60.gym.v1.GymService/GetGym") until the context ends.

    Health.Watch reports SERVING.
    """
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handler(answers)])
    server.add_insecure_port(address)
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401 - grpc does not type it
        if handler_call_details.method == WATCH_PATH:
            return grpc.unary_stream_rpc_method_handler(_watch)
        answer = self._answers.get(handler_call_details.method)
        return (
            grpc.unary_unary_rpc_method_handler(lambda _request, context: _respond(answer, context)) if answer else None
        )


def _watch(_request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    over = Event()
    if context.add_callback(over.set):
        yield HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
        over.wait()


def _respond(answer: Answer, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata(answer.trailing)
    context.set_code(answer.code)
    return answer.message.SerializeToString()
