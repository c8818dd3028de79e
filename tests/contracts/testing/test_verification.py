"""Verification of a provider: each difference from an expectation is reported, with the consumer's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contracts.errors import SlotTaken
from contracts.testing import BrokenExpectation, Expectation, check_states, verify
from contracts.testing.expectation import parse_expectation
from interceptors.context import current_context
from solo60.example.v1 import echo_pb2 as pb
from tests.support.echo import EchoServicer
from tests.support.echo_server import echo, serve_echo

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer, ServeEcho

__all__ = ["echo", "serve_echo"]

REQUEST = 'request {\n text: "hi"\n}'
ANSWER = 'answer {\n text: "hi"\n}'
VIOLATION = "The request violates the contract: text. (text must be at least 1 characters)"
SERVICE = "solo60.example.v1.EchoService"


def expectation(*rest: str, method: str = "Echo", kind: str = "calls") -> Expectation:
    """Return an expectation of "reader" as in a file."""
    text = "\n".join(("given: quiet", f"kind: {kind}", "deadline: 2 s", *rest))
    return parse_expectation(text.splitlines(), "reader", f"{SERVICE}/{method}")


async def quiet(_world: object) -> dict[str, object]:
    """Prepare nothing, and return a value."""
    return {"word": "hi"}


STATES = {"quiet": quiet}


async def problem_of(echo: EchoServer, expected: Expectation, **states: Any) -> str:
    """Return what verification reports; empty if the expectation is met."""
    try:
        await verify(expected, echo.stub(), states or STATES, None, deadline_factor=10.0)
    except BrokenExpectation as broken:
        return str(broken).removeprefix(f"{expected}: ")
    return ""


MET = [
    expectation(REQUEST, ANSWER),
    expectation(REQUEST, "answer {\n caller: <any>\n correlation_id: <any>\n}"),
    expectation("request {\n text: <word>\n}", "answer {\n text: <word>\n}"),
    expectation(REQUEST, ANSWER, kind="calls_later"),
    expectation('request {\n text: "hi"\n repeat: 3\n}', *[ANSWER] * 2, method="EchoMany"),
    expectation(
        'request {\n text: "a"\n}', 'request {\n text: "b"\n}', 'answer {\n text: "a b"\n}', method="EchoJoined"
    ),
]


@pytest.mark.parametrize("expected", MET, ids=range(len(MET)))
async def test_an_expectation_that_the_provider_meets_passes(echo: EchoServer, expected: Expectation) -> None:
    """Fields beyond the expectation, and further messages of a stream, do not matter."""
    assert await problem_of(echo, expected) == ""


BROKEN = [
    (expectation(REQUEST, 'answer {\n text: "ho"\n}'), 'text is "hi", not "ho".'),
    (expectation(REQUEST, "error: SLOT_TAKEN"), "it answered, but must fail with SLOT_TAKEN."),
    (
        expectation('request {\n text: ""\n}', ANSWER),
        f"it failed with INVALID_REQUEST, not an answer: {VIOLATION}",
    ),
    (
        expectation('request {\n text: "hi"\n repeat: 1\n}', *[ANSWER] * 2, method="EchoMany"),
        "the stream ended after 1 of 2 messages.",
    ),
    (expectation("request {\n text: <other>\n}", ANSWER), "the function of the state returns no other."),
    (expectation("request {\n missing: 1\n}", ANSWER), "solo60.example.v1.EchoRequest has no field missing."),
    (expectation(REQUEST, "answer {\n missing: 1\n}"), "solo60.example.v1.EchoResponse has no field missing."),
]


@pytest.mark.parametrize(("expected", "problem"), BROKEN, ids=range(len(BROKEN)))
async def test_a_broken_expectation_is_described(echo: EchoServer, expected: Expectation, problem: str) -> None:
    """The message names the answer or the error that the consumer would get."""
    assert await problem_of(echo, expected) == problem


async def test_a_state_without_a_function_fails(echo: EchoServer) -> None:
    """The consumer and its state are named."""
    expected = expectation(REQUEST, ANSWER)

    assert await problem_of(echo, expected, loud=quiet) == "the provider has no function for this state."


async def test_a_state_that_cannot_be_prepared_fails(echo: EchoServer) -> None:
    """The error names the consumer of the state."""

    async def failing(_world: object) -> dict[str, object]:
        raise SlotTaken

    expected = expectation(REQUEST, ANSWER)

    assert await problem_of(echo, expected, quiet=failing) == f"the function of this state failed: {SlotTaken.__doc__}"


class Forgetful(EchoServicer):
    """Echo servicer that handles each delivery anew."""

    async def Keep(self, request: pb.KeepRequest, context: Any) -> pb.KeepResponse:
        self.entered += 1
        call = current_context()
        assert call is not None
        return pb.KeepResponse(idempotency_key=call.idempotency_key if self.entered == 1 else "")


async def test_a_second_delivery_must_get_the_same_answer(serve_echo: ServeEcho) -> None:
    """Calls through an outbox are delivered at least once, with one key."""
    expected = expectation(REQUEST, "answer {\n idempotency_key: <any>\n}", method="Keep", kind="calls_later")
    echo = await serve_echo(Forgetful())

    assert await problem_of(echo, expected) == "on the second delivery, idempotency_key is not set."
    assert echo.servicer.entered == 2


async def test_a_second_delivery_may_not_get_another_answer(serve_echo: ServeEcho) -> None:
    """Also a difference in a field that the consumer does not read shows that the effect has happened twice."""
    expected = expectation(REQUEST, "answer {\n}", method="Keep", kind="calls_later")

    assert await problem_of(await serve_echo(Forgetful()), expected) == "the second delivery got another answer."


def test_states_are_checked_in_both_directions() -> None:
    """A state without a function and a function without an expectation are reported together."""
    expected = expectation(REQUEST, ANSWER)

    check_states(["quiet"], [expected])
    with pytest.raises(AssertionError) as caught:
        check_states(["loud"], [expected])

    assert str(caught.value).splitlines() == [
        "No consumer expects anything given loud.",
        f"reader, given quiet: {SERVICE}/Echo: the provider has no function for this state.",
    ]
