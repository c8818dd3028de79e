from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from contracts.declarations import undeclared_call, undeclared_in, undeclared_later_call
from contracts.errors import GymNotFound, Internal, ScopeMissing, ServiceError, UnknownError
from contracts.method import find_method
from contracts.policy import ContractError
from contracts.services import all_methods
from interceptors.api_key import ClientApiKey
from interceptors.chained_channel import ChainedChannel
from interceptors.context import detached_work
from interceptors.declared_calls import WARNING_INTERVAL_S, ClientDeclaredCalls
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
MANY = echo_pb2.EchoManyRequest(text="hi", repeat=1)
ECHO = "solo60.example.v1.EchoService"
UNDECLARED = f"{ECHO}/EchoMany is not named in `calls` of Echo."
CHECK_CONFLICTS = find_method("/solo60.session.v1.SessionService/CheckConflicts")
BOOK = find_method("/solo60.session.v1.SessionService/BookSession")
CHARGE = find_method("/solo60.payment.v1.PaymentService/ChargeSession")


def calling(front: EchoServer, back: EchoServiceAsyncStub) -> None:
    """Let the handlers of one server call the other, with a key that may do so."""

    async def call_back() -> None:
        assert [each.text async for each in back.EchoMany(MANY)] == ["hi"]

    front.servicer.hook = call_back  # type: ignore[method-assign]  # what the hook is for


@pytest.mark.requirement("C5")
async def test_a_call_that_is_not_declared_is_refused_by_name_in_development(
    serve_echo: ServeEcho, logs: list[EventDict]
) -> None:
    """Nothing is sent, though the key would do; the caller is told which method lacks which callee."""
    front, back = await serve_echo(strict_contracts=True), await serve_echo(strict_contracts=True)
    calling(front, back.stub())

    with pytest.raises(Internal) as refused:
        await front.stub().Echo(HI)

    assert refused.value.message == UNDECLARED
    assert back.servicer.entered == 0
    assert [line["undeclared"] for line in logs if line["event"] == "internal error"] == [UNDECLARED]


@pytest.mark.requirement("C5")
async def test_a_call_that_is_not_declared_is_made_and_logged_in_production(
    serve_echo: ServeEcho, logs: list[EventDict]
) -> None:
    """Once a minute for each pair of methods, however many calls there are."""
    front, back = await serve_echo(), await serve_echo()
    now_s = 0.0
    chain = [ClientApiKey(lambda: back.key), ClientDeclaredCalls(clock=lambda: now_s)]
    calling(front, EchoServiceStub(ChainedChannel(back.bare_channel(), chain)))
    stub = front.stub()

    for _ in range(3):
        assert (await stub.Echo(HI)).text == "hi"
    now_s = WARNING_INTERVAL_S
    await stub.Echo(HI)

    said = [(line["problem"], line["method"], line["callee"]) for line in logs if line["event"] == "undeclared call"]
    assert said == [(UNDECLARED, f"{ECHO}/Echo", f"{ECHO}/EchoMany")] * 2


async def test_the_channels_of_the_mesh_warn_by_default(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """STRICT_CONTRACTS is off."""
    front, back = await serve_echo(), await serve_echo()
    calling(front, back.stub())

    await front.stub().Echo(HI)

    assert [line["problem"] for line in logs if line["event"] == "undeclared call"] == [UNDECLARED]


async def test_work_that_no_call_waits_for_may_call_what_its_key_allows(serve_echo: ServeEcho) -> None:
    """A relay or a reconciler serves no method that could declare anything, and neither does a program."""
    echo = await serve_echo(strict_contracts=True)

    assert (await echo.stub().Echo(HI)).text == "hi"
    with detached_work():
        assert (await echo.stub().Echo(HI)).text == "hi"


def test_the_sentence_names_callee_and_caller() -> None:
    """A method that is called by mistake is named with the one that calls it."""
    assert undeclared_call(CHECK_CONFLICTS, CHARGE) == (
        "solo60.payment.v1.PaymentService/ChargeSession is not named in `calls` of CheckConflicts."
    )
    assert undeclared_later_call(CHECK_CONFLICTS, CHARGE) == (
        "solo60.payment.v1.PaymentService/ChargeSession is not named in `calls_later` of CheckConflicts."
    )


@pytest.mark.requirement("C5")
def test_what_contracts_declare_is_no_problem() -> None:
    """For every pair of methods in the mesh; what is not ours can declare nothing."""
    methods = all_methods()
    for serving in methods.values():
        assert not any(undeclared_call(serving, methods[call]) for call in serving.policy.calls)
        assert not any(undeclared_later_call(serving, methods[call]) for call in serving.policy.calls_later)
    health = find_method("/grpc.health.v1.Health/Check")
    assert undeclared_call(CHARGE, health) == undeclared_call(health, CHARGE) == ""


@pytest.mark.parametrize("is_strict", [False, True])
async def test_an_undeclared_reason_is_named_in_the_log_and_to_callers_in_development(
    serve_echo: ServeEcho, logs: list[EventDict], *, is_strict: bool
) -> None:
    """Callers elsewhere get a bare INTERNAL, as for every other fault."""
    echo = await serve_echo(strict_contracts=is_strict)

    async def refuse() -> None:
        raise GymNotFound

    echo.servicer.hook = refuse  # type: ignore[method-assign]  # what the hook is for
    with pytest.raises(Internal) as refused:
        await echo.stub().Echo(HI)

    undeclared = "GYM_NOT_FOUND is not named in `errors` of Echo."
    assert [line["undeclared"] for line in logs if line["event"] == "internal error"] == [undeclared]
    assert (refused.value.message == undeclared) is is_strict
    assert ("GYM_NOT_FOUND" in refused.value.message) is is_strict


def answered_by(callee: str, error: ServiceError) -> ServiceError:
    """Return an error as a call of `callee` raises it."""
    error.callee = callee
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            answered_by(CHARGE.full_name, ScopeMissing()),
            f"{CHARGE.full_name} is not named in `calls` of CheckConflicts.",
        ),
        (ContractError("a sentence"), "a sentence"),
        (ValueError("a secret"), ""),
        (Internal("a secret"), ""),
        (UnknownError(grpc.StatusCode.DATA_LOSS, "a secret"), ""),
    ],
    ids=["undeclared callee", "contract", "bug", "own fault", "foreign"],
)
def test_an_error_tells_what_was_not_declared(error: Exception, said: str) -> None:
    """A key that lacks a scope is often a callee that was not declared."""
    assert undeclared_in(error, CHECK_CONFLICTS) == said


def test_an_error_of_a_declared_callee_tells_of_nothing() -> None:
    """A platform reason needs no declaration."""
    assert undeclared_in(answered_by(CHARGE.full_name, ScopeMissing()), BOOK) == ""
