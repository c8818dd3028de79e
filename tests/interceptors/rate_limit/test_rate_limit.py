from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest

from contracts.errors import RateLimited
from contracts.method import find_method
from contracts.policy import ContractError, RateLimit
from interceptors.chain.call import Call
from interceptors.keys.keyring import Keyring, mint_key, record_of_key
from interceptors.rate_limit.interceptor import ServerRateLimit
from solo60.auth.v1.auth_pb2 import RequestPasswordResetRequest
from solo60.example.v1.echo_pb2 import (
    EchoEachRequest,
    EchoLimitedByTextRequest,
    EchoLimitedRequest,
    EchoRequest,
)
from solo60.session.v1.session_pb2 import InviteGuestRequest
from tests.support.clock import ManualClock
from tests.support.echo import SCOPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message
    from structlog.typing import EventDict

    from contracts.method import Method
    from tests.support.echo_server import EchoServer, ServeEcho

ECHO = "/solo60.example.v1.EchoService/"
LIMITED = EchoLimitedRequest(text="hi")
BURST = 10
# Factor so small that no further call is admitted while a test runs.
FROZEN = 0.001
SECRET = "jo@example.com"  # noqa: S105 - personal data


async def use_up(echo: EchoServer) -> None:
    """Make all calls that the limit admits at once."""
    for _ in range(BURST):
        await echo.stub().EchoLimited(LIMITED)


@pytest.mark.requirement("S3")
async def test_a_caller_above_its_rate_is_rejected(serve_echo: ServeEcho) -> None:
    """A call above the limit raises RateLimited with the retry delay and the limit, and does not enter the handler."""
    echo = await serve_echo(rate_limit_factor=FROZEN)
    await use_up(echo)

    with pytest.raises(RateLimited) as caught:
        await echo.stub().EchoLimited(LIMITED)

    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 100 < (caught.value.retry_after_s or 0) <= 200
    assert caught.value.metadata.items() >= {"calls_per_second": "0.005", "burst": "10"}.items()
    assert echo.servicer.entered == BURST


@pytest.mark.requirement("S3")
async def test_a_rejected_request_is_not_parsed(serve_echo: ServeEcho) -> None:
    """A call above the limit is RateLimited even if its request is malformed, because it is not parsed."""
    echo = await serve_echo(rate_limit_factor=FROZEN)
    await use_up(echo)

    with pytest.raises(RateLimited):
        await echo.channel().unary_unary(f"{ECHO}EchoLimited")(cast("Any", b"\xff\xff"))


@pytest.mark.requirement("S3")
async def test_limits_of_callers_and_methods_are_independent(serve_echo: ServeEcho) -> None:
    """A caller above its limit does not affect other callers or its own calls of other methods."""
    echo = await serve_echo(rate_limit_factor=FROZEN)
    other = mint_key("test")
    echo.keyring = Keyring(
        [
            record_of_key(echo.key, "tester", SCOPES),
            record_of_key(other, "other", SCOPES),
        ]
    )
    await use_up(echo)
    with pytest.raises(RateLimited):
        await echo.stub().EchoLimited(LIMITED)

    for _ in range(BURST):
        await echo.stub(other).EchoLimited(LIMITED)

    assert (await echo.stub().Echo(EchoRequest(text="hi"))).text == "hi"


@pytest.mark.requirement("S3")
async def test_each_value_of_a_field_has_its_own_limit(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """Each value of the limited field has its own limit. Error and log name the field, but not the value."""
    echo = await serve_echo(rate_limit_factor=FROZEN)
    stub = echo.stub()
    for _ in range(BURST):
        await stub.EchoLimitedByText(EchoLimitedByTextRequest(text=SECRET))

    with pytest.raises(RateLimited) as caught:
        await stub.EchoLimitedByText(EchoLimitedByTextRequest(text=SECRET))
    await stub.EchoLimitedByText(EchoLimitedByTextRequest(text="another"))

    assert caught.value.metadata["per_field"] == "text"
    assert SECRET not in f"{caught.value.message} {caught.value.metadata} {logs}"


UUID_AS_TEXT = "0198c1a2-beef-7000-8000-00000000abcd"


@pytest.mark.parametrize(
    ("name", "message", "spellings"),
    [
        ("session.v1.SessionService/InviteGuest", InviteGuestRequest, [UUID_AS_TEXT, UUID_AS_TEXT.upper()]),
        ("session.v1.SessionService/InviteGuest", InviteGuestRequest, [UUID_AS_TEXT, UUID_AS_TEXT.replace("-", "")]),
        ("auth.v1.AuthService/RequestPasswordReset", RequestPasswordResetRequest, ["jo@example.com", "JO@Example.com"]),
    ],
)
def test_spellings_of_a_value_share_one_limit(name: str, message: Callable[..., Message], spellings: list[str]) -> None:
    """All spellings of one UUID or email address count for the same limit."""
    method, limiter = find_method(f"/solo60.{name}"), ServerRateLimit(FROZEN, now=ManualClock())
    limiter.applies_to(method)
    limit = method.policy.rate_limit
    assert limit is not None
    requests = [message(**{limit.per_field: spelling}) for spelling in spellings] * 20

    admitted = 0
    for request in requests:
        with suppress(RateLimited):
            limiter.on_request(call_of(method), request)
            admitted += 1

    assert (len(requests), admitted) == (40, limit.burst)


async def test_a_method_without_a_limit_bypasses_the_interceptor() -> None:
    """The interceptor does not apply to a method without a rate limit."""
    assert not ServerRateLimit().applies_to(find_method(f"{ECHO}EchoMany"))


def with_limit(name: str, per_field: str, burst: int = 1) -> Method:
    """Return a method of the echo service with a limit of one call a second."""
    method = find_method(f"{ECHO}{name}")
    return replace(method, policy=replace(method.policy, rate_limit=RateLimit(1, burst, per_field)))


def call_of(method: Method, caller: str = "tester") -> Call:
    """Return a call that no server has received."""
    call = Call(method, cast("Any", None), {}, b"")
    call.context.caller = caller
    return call


async def proceed(_call: Call) -> bytes | None:
    """Replace the rest of the chain."""
    return b""


@pytest.mark.parametrize("path", ["no", "text.no", "period", "period.start_time.seconds.x", "text."])
def test_a_limit_on_an_unknown_field_prevents_the_start(path: str) -> None:
    """A limit on a field that the request does not have raises ContractError before the first call."""
    with pytest.raises(ContractError, match=r"rate_limit\.per_field"):
        ServerRateLimit().applies_to(with_limit("Echo", path))


def test_a_limited_field_may_be_nested() -> None:
    """A dotted path may name a field of a nested message, even if that message is not set."""
    method, limiter = with_limit("Echo", "period.start_time.seconds"), ServerRateLimit(now=ManualClock())
    limiter.applies_to(method)
    at_one, at_zero = EchoRequest(), EchoRequest()
    at_one.period.start_time.seconds = 1

    limiter.on_request(call_of(method), at_one)
    limiter.on_request(call_of(method), at_zero)

    with pytest.raises(RateLimited):
        limiter.on_request(call_of(method), at_one)


async def test_a_field_limit_counts_each_call_once() -> None:
    """A field's limit counts each call once, for all callers together."""
    method, clock = with_limit("EchoLimitedByText", "text", burst=2), ManualClock()
    limiter, message = ServerRateLimit(now=clock), EchoLimitedByTextRequest(text="hi")
    assert limiter.applies_to(method)
    assert limiter.applies_to(method)

    for caller in ("a", "b"):
        await limiter.intercept(call_of(method, caller), proceed)
        limiter.on_request(call_of(method, caller), message)

    with pytest.raises(RateLimited) as caught:
        limiter.on_request(call_of(method, "c"), message)
    clock.now_s += caught.value.retry_after_s or 0
    limiter.on_request(call_of(method, "c"), message)


async def test_a_stream_counts_once() -> None:
    """A stream counts once for a field's limit, however many requests it has."""
    method, limiter = with_limit("EchoEach", "text"), ServerRateLimit(now=ManualClock())
    limiter.applies_to(method)

    async def read_three(call: Call) -> bytes | None:
        for _ in range(3):
            limiter.on_request(call, EchoEachRequest(text="hi"))
        return None

    await limiter.intercept(call_of(method), read_three)

    with pytest.raises(RateLimited):
        await limiter.intercept(call_of(method), read_three)
    assert not limiter._unread_streams


async def test_rate_limit_factor_scales_the_rate() -> None:
    """A RATE_LIMIT_FACTOR of 2 halves the retry delay of a rejected call."""
    method, limiter = with_limit("EchoLimited", ""), ServerRateLimit(2.0, now=ManualClock())
    limiter.applies_to(method)
    await limiter.intercept(call_of(method), proceed)

    with pytest.raises(RateLimited) as caught:
        await limiter.intercept(call_of(method), proceed)

    assert caught.value.retry_after_s == pytest.approx(0.5)
