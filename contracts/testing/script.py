"""Scripted outcome of the calls of one method, checked against the contract before the first call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from google.protobuf.message import Message

from contracts.errors import ServiceError, UnknownError
from contracts.testing.partial_messages import includes
from contracts.violations import violations_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.method import Method


class ScriptError(Exception):
    """Script that the contract does not allow; the message names the method and the problem."""


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """Outcome of calls of `method`.

    - `requests`: partial messages that the requests of a call must include; None for any request.
    - `answers`: responses in order. `error` ends the call after them; a bare status has no details.
    - `latency_s`: seconds until the first answer or the error.
    - `cut_after`: number of answers after which the stream breaks with UNAVAILABLE.
    - `duplicate`: index of an answer that is sent twice.
    - `times`: number of calls that get this outcome; None for any number.
    """

    method: Method
    requests: tuple[Message, ...] | None = None
    answers: tuple[Message, ...] = ()
    error: ServiceError | grpc.StatusCode | None = None
    latency_s: float = 0.0
    cut_after: int | None = None
    duplicate: int | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        problem = next(filter(None, (_problem_of_shape(self), _problem_of_answers(self), _problem_of_error(self))), "")
        if problem:
            raise ScriptError(f"{self.method.full_name}: {problem}")

    def accepts(self, requests: Sequence[Message], *, are_complete: bool = True) -> bool:
        """Return whether the script answers a call with these requests, or with these as the first ones."""
        if self.requests is None:
            return True
        if len(self.requests) < len(requests) or (are_complete and len(self.requests) != len(requests)):
            return False
        return all(map(includes, requests, self.requests))

    def outcome(self) -> list[Message | ServiceError]:
        """Return the messages to send, with the error at the end if there is one."""
        sent: list[Message | ServiceError] = list(self.answers)
        if self.duplicate is not None:
            sent.insert(self.duplicate, sent[self.duplicate])
        if self.cut_after is not None:
            return [*sent[: self.cut_after], UnknownError(grpc.StatusCode.UNAVAILABLE, "The stream was cut.")]
        if isinstance(self.error, grpc.StatusCode):
            return [*sent, UnknownError(self.error)]
        return sent if self.error is None else [*sent, self.error]


def _problem_of_shape(script: Script) -> str:
    method, answers = script.method, script.answers
    if method.policy.contract_only:
        return "no service implements this method, so nothing can answer."
    if not method.response_streaming:
        if script.duplicate is not None or script.cut_after is not None:
            return "only a stream can be cut or have a duplicate, and this method has one response."
        if len(answers) + (script.error is not None) != 1:
            return "give one `answer` or an `error`, because this method has one response."
    if script.requests is not None and not method.request_streaming and len(script.requests) != 1:
        return "give one `request`, because this method has one."
    if (script.duplicate or 0) not in range(max(len(answers), 1)) or not 0 <= (script.cut_after or 0) <= len(answers):
        return "`duplicate` and `cut_after` must be within the answers."
    return ""


def _problem_of_answers(script: Script) -> str:
    for message in script.answers:
        if not isinstance(message, script.method.response_type):
            return f"answers with {script.method.response_type.__name__}, not {type(message).__name__}."
        broken = "; ".join(f"{violation.field} {violation.description}" for violation in violations_of(message))
        if broken:
            return f"the answer breaks the rules of the contract: {broken}."
    for message in script.requests or ():
        if not isinstance(message, script.method.request_type):
            return f"takes {script.method.request_type.__name__}, not {type(message).__name__}."
    return ""


def _problem_of_error(script: Script) -> str:
    error = script.error
    if error is grpc.StatusCode.OK:
        return "OK is not an error; give an `answer`."
    if isinstance(error, ServiceError) and error.reason and error.reason not in script.method.policy.errors:
        return f"{error.reason_name()} is not listed in `errors` of the contract."
    return ""


class ScriptMethod(Protocol):
    """Function that scripts calls of one method of a fake server; `Script` documents the arguments."""

    def __call__(
        self,
        *,
        request: Message | Sequence[Message] | None = None,
        answer: Message | None = None,
        answers: Sequence[Message] = (),
        error: ServiceError | grpc.StatusCode | None = None,
        **options: Any,
    ) -> Script: ...


def requests_of(request: Message | Sequence[Message] | None) -> tuple[Message, ...] | None:
    """Return the requests of a script, given as one message or as a list; None if any request matches."""
    if request is None:
        return None
    return (request,) if isinstance(request, Message) else tuple(request)


def answers_of(answer: Message | None, answers: Sequence[Message]) -> tuple[Message, ...]:
    """Return the answers of a script, given as one message or as a list."""
    if answer is not None and answers:
        raise ScriptError("Give `answer` or `answers`, not both.")
    return tuple(answers) if answer is None else (answer,)
