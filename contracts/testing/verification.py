"""Verification of a provider: each expectation of its consumers is replayed against the real service."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio

from contracts.errors import DeadlineExceeded, ServiceError
from contracts.metadata import IDEMPOTENCY_KEY
from contracts.status import error_of_call
from contracts.testing.expectation import Kind, name_of_error
from contracts.testing.pattern import placeholders_of
from contracts.testing.recording import as_item
from contracts.testing.replay import differences, message_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from google.protobuf.message import Message

    from contracts.method import Method
    from contracts.testing.expectation import Expectation

World = TypeVar("World")


class BrokenExpectation(AssertionError):
    """Expectation that the provider does not meet; the message names consumer, state, method and field."""


async def verify(
    expectation: Expectation,
    stub: object,
    states: Mapping[str, Callable[[World], Awaitable[Mapping[str, object] | None]]],
    world: World,
    *,
    deadline_factor: float = 1.0,
) -> None:
    """Replay an expectation against the service behind `stub`; raise BrokenExpectation if it is not met.

    The function of the state prepares the service by means of `world`, and returns the values of the placeholders.
    `stub` has the consumer's key. Only fields that the consumer relies on are compared. The answer must arrive within
    the consumer's deadline times `deadline_factor`. A call through an outbox is sent twice with one idempotency key, as
    an outbox delivers at least once, and must get the same answer.
    """
    prepare = states.get(expectation.state)
    if prepare is None:
        raise BrokenExpectation(f"{expectation}: the provider has no function for this state.")
    try:
        values = {name: as_item(value) for name, value in (await prepare(world) or {}).items()}
    except Exception as error:
        raise BrokenExpectation(f"{expectation}: the function of this state failed: {error}") from error
    if problems := await problems_of_replay(expectation, stub, values, deadline_factor):
        raise BrokenExpectation("\n".join(f"{expectation}: {problem}" for problem in problems))


async def problems_of_replay(
    expectation: Expectation, stub: object, values: Mapping[str, object], deadline_factor: float
) -> list[str]:
    """Replay an expectation with these values of its placeholders, and return one sentence for each problem."""
    try:
        return await _Replay(expectation, stub, values, deadline_factor).problems()
    except ValueError as error:  # a field or value that the contract no longer has
        return [f"{error}."]


def check_states(states: Iterable[str], expectations: Sequence[Expectation]) -> None:
    """Raise AssertionError for states without a function, and for functions that no expectation uses."""
    wanted = {each.state: each for each in expectations}
    missing = [f"{each}: the provider has no function for this state." for each in _without(states, wanted)]
    unused = [f"No consumer expects anything given {state}." for state in set(states) - wanted.keys()]
    if missing or unused:
        raise AssertionError("\n".join(sorted([*missing, *unused])))


def _without(states: Iterable[str], wanted: Mapping[str, Expectation]) -> list[Expectation]:
    return [each for state, each in wanted.items() if state not in states]


class _Replay:
    """Calls of one expectation, all with the same requests and idempotency key."""

    def __init__(
        self, expectation: Expectation, stub: object, values: Mapping[str, object], deadline_factor: float
    ) -> None:
        method, patterns = expectation.method, (*expectation.requests, *expectation.answers)
        for name in sorted(set[str]().union(*map(placeholders_of, patterns)) - values.keys()):
            raise ValueError(f"the function of the state returns no {name}")
        self._expectation = expectation
        self._call = getattr(stub, method.name)
        self._values = values
        self._timeout_s = expectation.deadline_s * deadline_factor
        self._requests = [message_of(each, method.request_type, values) for each in expectation.requests]
        self._metadata = ((IDEMPOTENCY_KEY, str(uuid.uuid4())),) if _is_keyed(expectation) else ()

    async def problems(self) -> list[str]:
        """Call the provider, once or as an outbox does, and return what the consumer misses."""
        first = await self._outcome()
        problems = self._problems_of(*first)
        if problems or self._expectation.kind is Kind.CALLS:
            return problems
        second = await self._outcome()
        if problems := self._problems_of(*second):
            return [f"on the second delivery, {problem}" for problem in problems]
        is_repeated = first[0] == second[0] or not self._expectation.method.policy.idempotency_key_required
        return [] if is_repeated else ["the second delivery got another answer."]

    def _problems_of(self, answers: list[Message], error: ServiceError | None) -> list[str]:
        expected, found = self._expectation.error, name_of_error(error)
        if error is not None and found != expected:
            if isinstance(error, DeadlineExceeded) and not expected:
                return [f"it did not answer within {self._timeout_s:g} s."]
            return [f"it failed with {found}, not {expected or 'an answer'}: {_described(error)}"]
        if expected and error is None:
            return [f"it answered, but must fail with {expected}."]
        return self._problems_of_answers(answers)

    def _problems_of_answers(self, answers: list[Message]) -> list[str]:
        wanted, is_stream = self._expectation.answers, self._expectation.method.response_streaming
        if len(answers) < len(wanted):
            return [f"the stream ended after {len(answers)} of {len(wanted)} messages."]
        return [
            f"message {number} of the stream: {problem}" if is_stream else problem
            for number, (pattern, answer) in enumerate(zip(wanted, answers, strict=False), 1)
            for problem in differences(pattern, answer, self._values)
        ]

    async def _outcome(self) -> tuple[list[Message], ServiceError | None]:
        """Return the answers that the consumer reads, and the error after them."""
        method = self._expectation.method
        answers: list[Message] = []
        sent: Any = _each(self._requests) if method.request_streaming else self._requests[0]
        call = self._call(sent, timeout=self._timeout_s, metadata=self._metadata)
        try:
            if not method.response_streaming:
                return [_readable(await call, method)], None
            async for answer in call:
                answers.append(_readable(answer, method))
                if len(answers) == len(self._expectation.answers) and not self._expectation.error:
                    break
        except ServiceError as error:
            return answers, error
        except grpc.aio.AioRpcError as error:  # of a client without interceptors
            return answers, error_of_call(error, method.full_name)
        finally:
            call.cancel()
        return answers, None


def _readable(answer: Message | None, method: Method) -> Message:
    if answer is None:  # gRPC's value for bytes that the deserializer rejects
        raise ValueError(f"the answer cannot be parsed as {method.response_type.DESCRIPTOR.full_name}")
    return answer


async def _each(requests: Sequence[Message]) -> AsyncIterator[Message]:
    for request in requests:
        yield request


def _is_keyed(expectation: Expectation) -> bool:
    return expectation.kind is not Kind.CALLS or expectation.method.policy.idempotency_key_required


def _described(error: ServiceError) -> str:
    """Return the message of an error, with the fields of an invalid request."""
    fields = "; ".join(f"{violation.field} {violation.description}" for violation in error.violations)
    return f"{error.message} ({fields})" if fields else error.message
