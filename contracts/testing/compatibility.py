"""Verification in time: clients of the previous release call today's provider, and today's clients the previous one."""

from __future__ import annotations

import uuid
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from contracts.metadata import API_KEY
from contracts.service_error import ServiceError
from contracts.testing.admission import Caller
from contracts.testing.fake_server import FakeServer
from contracts.testing.message_items import field_of
from contracts.testing.partial_messages import completed
from contracts.testing.pattern import placeholder_in
from contracts.testing.previous_release import NewExpectation
from contracts.testing.replay import example_items, message_of, type_of
from contracts.testing.script import Script, ScriptError
from contracts.testing.verification import BrokenExpectation, problems_of_replay, verify

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from google.protobuf.message import Message

    from contracts.method import Method
    from contracts.testing.expectation import Expectation
    from contracts.testing.pattern import Pattern
    from contracts.testing.previous_release import KnownPart, PreviousRelease

World = TypeVar("World")

# Factor for all deadlines: a fake server proves nothing about time, and a busy machine may need longer.
_PATIENCE = 10.0


async def verify_previous_client(
    expectation: Expectation,
    release: PreviousRelease,
    channel: grpc.aio.Channel,
    key: str,
    states: Mapping[str, Callable[[World], Awaitable[Mapping[str, object] | None]]],
    world: World,
    *,
    deadline_factor: float = 1.0,
) -> None:
    """Replay an expectation as a client of the previous release; raise BrokenExpectation if it is not met.

    The requests and answers have the types of the release. `channel` leads to today's service and has no interceptors,
    because those follow today's contracts. `key` is the consumer's. The rest is as in `verify`.

    Raises NewExpectation if the release lacks the method, a request field with a certain value, or, after a successful
    replay of the rest, a field of the answer.
    """
    part = release.known_part(expectation)
    if part.new_in_requests:
        raise NewExpectation(_new(expectation, release, part.new_in_requests))
    of_release = replace(part.expectation, consumer=f"{expectation.consumer} of {release.name}")
    stub = _plain_stub(channel, part.expectation.method, key)
    await verify(of_release, stub, states, world, deadline_factor=deadline_factor)
    if part.new_in_answers:
        raise NewExpectation(_new(expectation, release, part.new_in_answers))


async def verify_previous_server(expectation: Expectation, release: PreviousRelease, scopes: Collection[str]) -> None:
    """Replay an expectation as today's client of a fake server with the previous release's contracts.

    The server enforces the release's rules, and sends the expected answer with the release's types. `scopes` are those
    of the consumer's key. Raises BrokenExpectation if the server rejects the request, or if the consumer cannot read
    the answer. Raises NewExpectation if the release lacks the method, or, after a successful replay of the rest, a
    field.
    """
    part, caller = release.known_part(expectation), Caller(expectation.consumer, frozenset(scopes))
    try:
        problems = await _problems_with(release, part, expectation, caller, _examples(expectation))
    except ValueError as error:
        problems = [f"{error}."]
    except ScriptError as error:
        problems = [str(error)]
    if problems:
        place = f"{expectation} of {release.name}"
        raise BrokenExpectation("\n".join(f"{place}: {problem}" for problem in problems))
    if new := (*part.new_in_requests, *part.new_in_answers):
        raise NewExpectation(_new(expectation, release, new))


async def _problems_with(
    release: PreviousRelease, part: KnownPart, expectation: Expectation, caller: Caller, values: Mapping[str, object]
) -> list[str]:
    """Return what today's consumer misses in the answer of the release's server."""
    kind = part.expectation.method.response_type
    answers = tuple(completed(message_of(each, kind, values)) for each in part.expectation.answers)
    script = Script(part.expectation.method, answers=answers, error=_error_of(expectation))
    async with FakeServer([caller], deadline_factor=_PATIENCE, find=release.method) as server:
        server.add(script)
        async with grpc.aio.insecure_channel(server.address, [("grpc.enable_http_proxy", 0)]) as channel:
            stub = _plain_stub(channel, expectation.method, caller.key)
            readable = replace(expectation, answers=part.expectation.answers)
            return await problems_of_replay(readable, stub, values, _PATIENCE)


def _error_of(expectation: Expectation) -> ServiceError | grpc.StatusCode | None:
    """Return the error that a server of any release sends; raise ValueError if today's consumers do not know it."""
    name = expectation.error
    if not name:
        return None
    if name.startswith("status "):
        return grpc.StatusCode[name.removeprefix("status ")]
    if name not in ServiceError.by_reason:
        raise ValueError(f"there is no class for the error {name}")
    return ServiceError.by_reason[name]()


def _plain_stub(channel: grpc.aio.Channel, method: Method, key: str) -> object:
    """Return a stub with one method, whose calls carry an API key and nothing else that the caller does not give."""
    shapes: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    call = shapes[method.request_streaming, method.response_streaming](
        method.path,
        request_serializer=method.request_type.SerializeToString,
        response_deserializer=method.response_type.FromString,
    )

    def send(sent: object, *, timeout: float, metadata: Sequence[tuple[str, str]]) -> object:
        return call(sent, timeout=timeout, metadata=((API_KEY, key), *metadata))

    return SimpleNamespace(**{method.name: send})


def _examples(expectation: Expectation) -> dict[str, object]:
    """Return a valid value for each placeholder. Different ids have different values.

    Raises ValueError if there is no valid value.
    """
    found: dict[str, object] = {}
    method = expectation.method
    for patterns, kind in ((expectation.answers, method.response_type), (expectation.requests, method.request_type)):
        for pattern in patterns:
            _add_examples(found, pattern, kind)
    return {name: _distinct(name, value) for name, value in found.items()}


def _add_examples(found: dict[str, object], pattern: Pattern, kind: type[Message]) -> None:
    for name, value in pattern:
        if placeholder := placeholder_in(value):
            found[placeholder] = example_items(kind, name)[0]
        elif not isinstance(value, str):
            _add_examples(found, value, type_of(field_of(kind(), name)))


def _distinct(name: str, value: object) -> object:
    try:
        return str(uuid.uuid5(uuid.UUID(str(value)), name))
    except ValueError:
        return value


def _new(expectation: Expectation, release: PreviousRelease, names: Sequence[str]) -> str:
    return f"{expectation} is new: {release.name} does not have {', '.join(names)}."
