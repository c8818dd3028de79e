from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import pytest

from contracts.errors import Internal, InvalidRequest
from contracts.method import find_method
from contracts.request_violations import check_request
from interceptors.chain.call import Call
from interceptors.validation.interceptor import ServerValidation
from solo60.example.v1.echo_pb2 import EchoRequest, EchoResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

ECHO = find_method("/solo60.example.v1.EchoService/Echo")
# Messages with the number of times that protovalidate checks them, and whether they are valid.
REQUESTS = [(EchoRequest(text="hi"), 0, True), (EchoRequest(text="hï"), 1, True), (EchoRequest(), 1, False)]
RESPONSES = [(EchoResponse(text="hi"), 0, True), (EchoResponse(text="hï"), 1, True), (EchoResponse(), 1, False)]


def calls_of_protovalidate(act: Callable[[], None]) -> int:
    """Return how often an action calls protovalidate."""
    calls: list[str] = []

    def count(_frame: object, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ == "collect_violations":
            calls.append(function.__name__)

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return len(calls)


def is_rejected(act: Callable[[], None]) -> bool:
    """Return whether an action rejects a message."""
    try:
        act()
    except (InvalidRequest, Internal):
        return True
    return False


def call_with(message: Message) -> Call:
    """Return a call of Echo with this request."""
    return Call(ECHO, cast("Any", None), {}, message.SerializeToString())


@pytest.mark.parametrize(("message", "checks", "is_valid"), REQUESTS)
def test_plain_requests_skip_protovalidate(message: EchoRequest, checks: int, *, is_valid: bool) -> None:
    """Only a request that is not plain goes to protovalidate, which decides on it, in a server and in a fake."""
    hook, outcomes = ServerValidation().request_hook(ECHO), []

    for act in (lambda: hook(call_with(message), message), lambda: check_request(message, message.SerializeToString())):
        assert calls_of_protovalidate(lambda act=act: outcomes.append(is_rejected(act))) == checks  # type: ignore[misc]
    assert outcomes == [not is_valid] * 2


@pytest.mark.parametrize(("message", "checks", "is_valid"), RESPONSES)
def test_plain_responses_skip_protovalidate(message: EchoResponse, checks: int, *, is_valid: bool) -> None:
    """Only a response that is not plain goes to protovalidate, which decides on it."""
    hook, outcomes = ServerValidation().response_hook(ECHO), list[bool]()

    assert (
        calls_of_protovalidate(lambda: outcomes.append(is_rejected(lambda: hook(call_with(message), message))))
        == checks
    )
    assert outcomes == [not is_valid]
