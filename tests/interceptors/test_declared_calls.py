from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from contracts.declarations import undeclared_call, undeclared_in, undeclared_later_call
from contracts.errors import GymNotFound, Internal, ScopeMissing, ServiceError, UnknownError
from contracts.method import find_method
from contracts.policy import ContractError
from contracts.services import all_methods
from interceptors.chain.channel import ChainedChannel
from interceptors.context import detached_work
from interceptors.declared_calls import WARNING_INTERVAL_S, ClientDeclaredCalls
from interceptors.keys.interceptor import ClientApiKey
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
MANY = echo_pb2.EchoManyRequest(text="hi", repeat=1)
ECHO = "solo60.example.v1.EchoService"
UNDECLARED = f"{ECHO}/EchoMany is not listed in `calls` of Echo."
CHECK_CONFLICTS = find_method("/solo60.session.v1.SessionService/CheckConflicts")
BOOK = find_method("/solo60.session.v1.SessionService/BookSession")
CHARGE = find_method("/solo60.payment.v1.PaymentService/ChargeSession")


def forward_calls(front: EchoServer, back: EchoServiceAsyncStub) -> None:
    """Make the handlers of one server call the other."""

    async def call_back() -> None:
        assert [each.text async for each in back.EchoMany(MANY)] == ["hi"]

    front.servicer.hook = call_back


@pytest.mark.requirement("C5")
async def test_an_undeclared_call_is_rejected_in_development(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """With strict_contracts, an undeclared call is not sent, and the error names both methods."""
    front, back = await serve_echo(strict_contracts=True), await serve_echo(strict_contracts=True)
    forward_calls(front, back.stub())

    with pytest.raises(Internal) as rejected:
        await front.stub().Echo(HI)

    assert rejected.value.message == UNDECLARED
    assert back.servicer.entered == 0
    assert [line["undeclared"] for line in logs if line["event"] == "internal error"] == [UNDECLARED]


@pytest.mark.requirement("C5")
async def test_an_undeclared_call_is_sent_and_logged_in_production(
    serve_echo: ServeEcho, logs: list[EventDict]
) -> None:
    """Without strict checks, an undeclared call is sent, and a warning is logged once a minute per pair of methods."""
    front, back = await serve_echo(), await serve_echo()
    now_s = 0.0
    chain = [ClientApiKey(lambda: back.key), ClientDeclaredCalls(clock=lambda: now_s)]
    forward_calls(front, EchoServiceStub(ChainedChannel(back.bare_channel(), chain)))
    stub = front.stub()

    for _ in range(3):
        assert (await stub.Echo(HI)).text == "hi"
    now_s = WARNING_INTERVAL_S
    await stub.Echo(HI)

    problems = [
        (line["problem"], line["method"], line["callee"]) for line in logs if line["event"] == "undeclared call"
    ]
    assert problems == [(UNDECLARED, f"{ECHO}/Echo", f"{ECHO}/EchoMany")] * 2


async def test_undeclared_calls_are_warnings_by_default(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """Undeclared calls are sent with a warning by default, because STRICT_CONTRACTS is off."""
    front, back = await serve_echo(), await serve_echo()
    forward_calls(front, back.stub())

    await front.stub().Echo(HI)

    assert [line["problem"] for line in logs if line["event"] == "undeclared call"] == [UNDECLARED]


async def test_calls_outside_of_a_handler_need_no_declaration(serve_echo: ServeEcho) -> None:
    """Programs and detached work may make any call that their key allows, because no contract declares their calls."""
    echo = await serve_echo(strict_contracts=True)

    assert (await echo.stub().Echo(HI)).text == "hi"
    with detached_work():
        assert (await echo.stub().Echo(HI)).text == "hi"


def test_the_problem_names_callee_and_caller() -> None:
    """The problem of an undeclared call names the callee, the policy field and the caller."""
    assert undeclared_call(CHECK_CONFLICTS, CHARGE) == (
        "solo60.payment.v1.PaymentService/ChargeSession is not listed in `calls` of CheckConflicts."
    )
    assert undeclared_later_call(CHECK_CONFLICTS, CHARGE) == (
        "solo60.payment.v1.PaymentService/ChargeSession is not listed in `calls_later` of CheckConflicts."
    )


@pytest.mark.requirement("C5")
def test_declared_calls_are_no_problem() -> None:
    """No declared call of any method is a problem, and calls from or to gRPC's own services need no declaration."""
    methods = all_methods()
    for serving in methods.values():
        assert not any(undeclared_call(serving, methods[call]) for call in serving.policy.calls)
        assert not any(undeclared_later_call(serving, methods[call]) for call in serving.policy.calls_later)
    health = find_method("/grpc.health.v1.Health/Check")
    assert undeclared_call(CHARGE, health) == undeclared_call(health, CHARGE) == ""


@pytest.mark.parametrize("is_strict", [False, True])
async def test_an_undeclared_reason_is_logged_and_shown_in_development(
    serve_echo: ServeEcho, logs: list[EventDict], *, is_strict: bool
) -> None:
    """An undeclared error reason is named in the log, and to callers only with strict_contracts."""
    echo = await serve_echo(strict_contracts=is_strict)

    async def reject() -> None:
        raise GymNotFound

    echo.servicer.hook = reject
    with pytest.raises(Internal) as rejected:
        await echo.stub().Echo(HI)

    undeclared = "GYM_NOT_FOUND is not listed in `errors` of Echo."
    assert [line["undeclared"] for line in logs if line["event"] == "internal error"] == [undeclared]
    assert (rejected.value.message == undeclared) is is_strict
    assert ("GYM_NOT_FOUND" in rejected.value.message) is is_strict


def error_of_callee(callee: str, error: ServiceError) -> ServiceError:
    """Return an error like one that a call of `callee` raises."""
    error.callee = callee
    return error


@pytest.mark.parametrize(
    ("error", "problems"),
    [
        (
            error_of_callee(CHARGE.full_name, ScopeMissing()),
            f"{CHARGE.full_name} is not listed in `calls` of CheckConflicts.",
        ),
        (ContractError("a sentence"), "a sentence"),
        (ValueError("a secret"), ""),
        (Internal("a secret"), ""),
        (UnknownError(grpc.StatusCode.DATA_LOSS, "a secret"), ""),
    ],
    ids=["undeclared callee", "contract", "bug", "own fault", "foreign"],
)
def test_undeclared_in_explains_an_error(error: Exception, problems: str) -> None:
    """undeclared_in() explains an undeclared callee's missing scope and a ContractError, and reveals no other error."""
    assert undeclared_in(error, CHECK_CONFLICTS) == problems


def test_undeclared_in_is_empty_for_a_declared_callee() -> None:
    """undeclared_in() returns an empty text for a missing scope of a declared callee."""
    assert undeclared_in(error_of_callee(CHARGE.full_name, ScopeMissing()), BOOK) == ""
