"""Stub server with a fixed answer for each method, for tests without an event loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1.health_pb2 import HealthCheckResponse

from contracts.metadata import STATUS_DETAILS
from contracts.status import status_of_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from google.protobuf.message import Message

    from contracts.errors import ServiceError

WATCH_PATH = "/grpc.health.v1.Health/Watch"


class Answer(NamedTuple):
    """Response message, trailing metadata and status code of one call."""

    message: Message
    trailing: tuple[tuple[str, str | bytes], ...] = ()
    code: grpc.StatusCode = grpc.StatusCode.OK

    @classmethod
    def of_error(cls, error: ServiceError) -> Answer:
        """Return the answer that raises `error` in a client of the mesh."""
        details = status_of_error(error, "correlation").SerializeToString()
        return cls(Empty(), ((STATUS_DETAILS, details),), error.code)


@contextmanager
def stub_server(address: str, answers: Mapping[str, Answer | Sequence[Answer]]) -> Iterator[None]:
    """Answer unary calls at `address` by path ("/solo60.gym.v1.GymService/GetGym") until the context ends.

    A sequence holds the answers to successive calls. Health.Watch reports SERVING.
    """
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handler(answers)])
    server.add_insecure_port(address)
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answers: Mapping[str, Answer | Sequence[Answer]]) -> None:
        self._answers = {
            path: repeat(answer) if isinstance(answer, Answer) else iter(answer) for path, answer in answers.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method == WATCH_PATH:
            return grpc.unary_stream_rpc_method_handler(_watch)
        answers = self._answers.get(handler_call_details.method)
        if answers is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda _request, context: _respond(next(answers), context))


def _watch(_request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    over = Event()
    if context.add_callback(over.set):
        yield HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
        over.wait()


def _respond(answer: Answer, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata(answer.trailing)
    context.set_code(answer.code)
    return answer.message.SerializeToString()
