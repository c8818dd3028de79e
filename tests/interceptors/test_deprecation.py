from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from contracts.errors import SlotTaken
from interceptors.api_key import API_KEY
from interceptors.deprecation import REPLACED_BY, SUNSET
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.test_errors import raising

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer

OLD = echo_pb2.EchoDeprecatedRequest(text="hi")


@pytest.mark.requirement("C7")
async def test_a_caller_is_told_when_a_method_goes_and_what_comes(echo: EchoServer) -> None:
    """RFC 8594: with every answer."""
    call: Any = echo.stub().EchoDeprecated(OLD)
    await call

    trailing = dict(await call.trailing_metadata())
    assert trailing[SUNSET] == "Tue, 01 Jan 2030 00:00:00 GMT"
    assert trailing[REPLACED_BY] == "solo60.example.v1.EchoService/Echo"


@pytest.mark.requirement("C7")
async def test_a_caller_is_told_when_its_call_fails_too(echo: EchoServer) -> None:
    """A caller that gets nothing but errors learns of it as well."""
    raising(echo, SlotTaken())
    call: Any = EchoServiceStub(echo.bare_channel()).EchoDeprecated(OLD, metadata=((API_KEY, echo.key),))

    assert SUNSET in dict(await call.trailing_metadata())
    assert await call.code() is not grpc.StatusCode.OK


@pytest.mark.requirement("C7")
async def test_a_method_that_stays_says_nothing(echo: EchoServer) -> None:
    """The interceptor costs nothing where nothing is deprecated."""
    call: Any = echo.stub().Echo(echo_pb2.EchoRequest(text="hi"))
    await call

    assert SUNSET not in dict(await call.trailing_metadata())
