from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from contracts.errors import SlotTaken
from interceptors.deprecation import REPLACED_BY, SUNSET
from interceptors.keys.interceptor import API_KEY
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.call_shapes import raising

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer

OLD = echo_pb2.EchoDeprecatedRequest(text="hi")


@pytest.mark.requirement("C7")
async def test_an_answer_names_sunset_and_replacement(echo: EchoServer) -> None:
    """Every answer of a deprecated method carries its sunset date and its replacement (RFC 8594)."""
    call: Any = echo.stub().EchoDeprecated(OLD)
    await call

    trailing = dict(await call.trailing_metadata())
    assert trailing[SUNSET] == "Tue, 01 Jan 2030 00:00:00 GMT"
    assert trailing[REPLACED_BY] == "solo60.example.v1.EchoService/Echo"


@pytest.mark.requirement("C7")
async def test_an_error_names_the_sunset(echo: EchoServer) -> None:
    """A failed call of a deprecated method carries the sunset date too."""
    raising(echo, SlotTaken())
    call: Any = EchoServiceStub(echo.bare_channel()).EchoDeprecated(OLD, metadata=((API_KEY, echo.key),))

    assert SUNSET in dict(await call.trailing_metadata())
    assert await call.code() is not grpc.StatusCode.OK


@pytest.mark.requirement("C7")
async def test_a_current_method_has_no_sunset(echo: EchoServer) -> None:
    """The answer of a method that is not deprecated carries no sunset date."""
    call: Any = echo.stub().Echo(echo_pb2.EchoRequest(text="hi"))
    await call

    assert SUNSET not in dict(await call.trailing_metadata())
