"""Expectations of one consumer: its tests script fake providers, and the kit records what the consumer relies on.

gyms = expectations.of(GymServiceStub)
gyms.given("an open gym", gym_id=GYM_ID).GetGym(
request=GetGymRequest(gym_id=GYM_ID), answer=GetGymResponse(gym=Gym(time_zone="Europe/London"))
)
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from contracts.testing.admission import Caller
from contracts.testing.expectation import Expectation, Kind, name_of_error
from contracts.testing.fake_server import FakeServer, UnexpectedCalls, descriptor_of, method_named
from contracts.testing.partial_messages import completed
from contracts.testing.recording import Recording, as_item
from contracts.testing.script import Script, ScriptError, answers_of, requests_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from types import TracebackType

    import grpc
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message

    from contracts.errors import ServiceError
    from contracts.method import Method
    from contracts.testing.expectation_files import ExpectationFiles
    from contracts.testing.fake_server import HeardCall, Service
    from contracts.testing.pattern import Pattern


class ExpectMethod(Protocol):
    """Function that declares an expectation on one method.

    - `request`: fields on which the answer depends; a list for a stream of requests. Other fields that the consumer
      sends are recorded as `<any>`.
    - `answer`: fields that the consumer reads. The fake provider adds the fields that the contract requires.
    - `error`: an error of the contract, or a status without a reason. A stream may have `answers` before it.
    - `any_value`: paths of answer fields that the consumer reads, but whose value does not matter.
    - `unset`: paths of answer fields that the consumer relies on being empty.
    - `within_s`: the consumer's own deadline, if it is shorter than the contract's.
    """

    def __call__(
        self,
        *,
        request: Message | Sequence[Message] | None = None,
        answer: Message | None = None,
        answers: Sequence[Message] = (),
        error: ServiceError | grpc.StatusCode | None = None,
        any_value: Iterable[str] = (),
        unset: Iterable[str] = (),
        within_s: float | None = None,
    ) -> None: ...


# gRPC's core rounds a deadline up by at most this factor when it sends it.
_CORE_ROUNDING = 1.01


@dataclass(slots=True)
class _Declared:
    """Declared expectation with its script; `answers` are the patterns of the fields that the consumer reads."""

    script: Script
    state: str
    kind: Kind
    answers: tuple[Pattern, ...]
    recording: Recording
    deadline_s: float

    def as_heard(self, consumer: str, call: HeardCall) -> Expectation:
        """Return the expectation with the requests that the consumer has sent.

        Raises AssertionError if the consumer would wait longer for the answer than it expects.
        """
        expected = self.script.requests or (None,) * len(call.requests)
        name, limit_s = self.script.method.full_name, self.deadline_s
        if limit_s < self.script.method.policy.deadline_s and call.time_left_s > limit_s * _CORE_ROUNDING:
            waits = f"{consumer} would wait {call.time_left_s:.3g} s for {name}"
            raise AssertionError(f"{waits}, but expects an answer within {limit_s:g} s: set the timeout of the call.")
        return Expectation(
            consumer=consumer,
            method=self.script.method,
            state=self.state,
            kind=self.kind,
            deadline_s=self.deadline_s,
            requests=tuple(map(self.recording.request, call.requests, expected)),
            answers=self.answers,
            error=name_of_error(self.script.error),
        )


class Expectations:
    """Fake providers for one test of a consumer, at `address`.

    The consumer calls them with `key`, which has `scopes`. At the end of the context, an unexpected call or an
    expectation without a call fails the test, and each expectation is recorded in `files`.
    """

    def __init__(
        self,
        consumer: str,
        files: ExpectationFiles,
        scopes: Collection[str],
        *,
        key: str = "",
        deadline_factor: float = 1.0,
    ) -> None:
        self.consumer = consumer
        self._files = files
        caller = Caller(consumer, frozenset(scopes), key) if key else Caller(consumer, frozenset(scopes))
        self.key = caller.key
        self.fake = FakeServer([caller], deadline_factor=deadline_factor)
        self._declared: list[_Declared] = []

    @property
    def address(self) -> str:
        """Address of every fake provider ("127.0.0.1:40123")."""
        return self.fake.address

    async def __aenter__(self) -> Self:
        await self.fake.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.fake.__aexit__(kind, error, traceback)
        if error is not None:
            return
        if unheard := self._unheard():
            raise UnexpectedCalls("\n".join(unheard))
        for each in self._declared:
            for call in self.fake.heard(each.script):
                self._files.record(each.as_heard(self.consumer, call))

    def of(self, service: Service) -> Provider:
        """Return the fake provider of a service that the consumer calls while it serves a call."""
        return Provider(self, descriptor_of(service), Kind.CALLS)

    def later(self, service: Service) -> Provider:
        """Return the fake provider of a service that the consumer calls through its outbox."""
        return Provider(self, descriptor_of(service), Kind.CALLS_LATER)

    async def all_called(self, timeout_s: float = 10.0) -> None:
        """Wait until each expectation has had a call, as for calls through an outbox; raise UnexpectedCalls if not."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.fake.until(lambda: not self._unheard())
        except TimeoutError:
            raise UnexpectedCalls("\n".join([*self._unheard(), *self.fake.problems])) from None

    def declare(self, declared: _Declared) -> None:
        """Script a fake provider as declared."""
        method = declared.script.method
        if any((each.state, each.script.method) == (declared.state, method) for each in self._declared):
            raise ScriptError(f"{method.full_name} has two answers given {declared.state}.")
        self.fake.add(declared.script)
        self._declared.append(declared)

    def _unheard(self) -> list[str]:
        return [
            f"{self.consumer} has not called {each.script.method.full_name}, given {each.state}."
            for each in self._declared
            if not self.fake.heard(each.script)
        ]


@dataclass(frozen=True, slots=True)
class Provider:
    """Fake provider of one service for the consumer of `expectations`."""

    expectations: Expectations
    service: ServiceDescriptor
    kind: Kind

    def given(self, state: str, **placeholders: object) -> Given:
        """Return the provider in a state, a sentence that the provider's tests prepare.

        `placeholders` are values of this test that the state determines, such as ids and times. They are recorded by
        name, in requests and answers, and the provider's tests replace them by values of their own. SENT is the value
        that the consumer sends in the field with the name of the placeholder, such as an id that it has assigned.
        """
        return Given(self, state, {name: as_item(value) for name, value in placeholders.items()})


@dataclass(frozen=True, slots=True)
class Given:
    """Provider in a state: each method of the contract is a function that declares an expectation."""

    provider: Provider
    state: str
    placeholders: Mapping[str, object] = field(default_factory=dict)

    def __getattr__(self, name: str) -> ExpectMethod:
        method = method_named(self.provider.service, name)

        def expect(
            *,
            request: Message | Sequence[Message] | None = None,
            answer: Message | None = None,
            answers: Sequence[Message] = (),
            error: ServiceError | grpc.StatusCode | None = None,
            any_value: Iterable[str] = (),
            unset: Iterable[str] = (),
            within_s: float | None = None,
        ) -> None:
            read = answers_of(answer, answers)
            script = Script(method, requests_of(request), tuple(map(completed, read)), error)
            recording = Recording(self.placeholders, frozenset(any_value), frozenset(unset))
            patterns, deadline_s = tuple(map(recording.answer, read)), _deadline_s(method, within_s)
            self.provider.expectations.declare(
                _Declared(script, self.state, self._kind_of(method), patterns, recording, deadline_s)
            )

        return expect

    def _kind_of(self, method: Method) -> Kind:
        return Kind.EVENT if method.policy.subscribes_to else self.provider.kind


def _deadline_s(method: Method, within_s: float | None) -> float:
    if within_s is not None and not 0 < within_s <= method.policy.deadline_s:
        longest = f"the contract's {method.policy.deadline_s:g} s"
        raise ScriptError(f"{method.full_name}: `within_s` must be above 0 and at most {longest}.")
    return within_s or method.policy.deadline_s
