"""Expectation of a consumer on one method of a provider, in one state of the provider, as an object and as text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import grpc

from contracts.errors import ServiceError, UnknownError
from contracts.method import find_method
from contracts.testing.pattern import lines_of, parse_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.method import Method
    from contracts.testing.pattern import Pattern, Value


class Kind(Enum):
    """How a consumer calls: while it serves a call, later through its outbox, or as a publisher of an event."""

    CALLS = "calls"
    CALLS_LATER = "calls_later"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Expectation:
    """Expectation of `consumer`: in `state`, `method` answers `requests` within `deadline_s`.

    The provider answers with at least the fields of `answers`, in this order, and then with `error`. That is a reason
    of the contract, or "status NOT_FOUND" for a status without a reason, or empty.
    """

    consumer: str
    method: Method
    state: str
    kind: Kind
    deadline_s: float
    requests: tuple[Pattern, ...]
    answers: tuple[Pattern, ...] = ()
    error: str = ""

    def __str__(self) -> str:
        return f"{self.consumer}, given {self.state}: {self.method.full_name}"

    def text(self) -> str:
        """Return the lines of the expectation in its file."""
        fields: list[tuple[str, Value]] = [
            ("given", self.state),
            ("kind", self.kind.value),
            ("deadline", f"{self.deadline_s:g} s"),
            *(("request", each) for each in self.requests),
            *(("answer", each) for each in self.answers),
        ]
        if self.error:
            fields.append(("error", self.error))
        return "\n".join(lines_of(tuple(fields))) + "\n"


def parse_expectation(lines: Sequence[str], consumer: str, method: str) -> Expectation:
    """Return the expectation in these lines; raise ValueError if they are malformed."""
    fields = parse_pattern(lines)
    single = {name: value for name, value in fields if isinstance(value, str)}
    blocks = [(name, value) for name, value in fields if not isinstance(value, str)]
    try:
        return Expectation(
            consumer=consumer,
            method=find_method(f"/{method}"),
            state=single["given"],
            kind=Kind(single["kind"]),
            deadline_s=float(single["deadline"].removesuffix(" s")),
            requests=tuple(value for name, value in blocks if name == "request"),
            answers=tuple(value for name, value in blocks if name == "answer"),
            error=single.get("error", ""),
        )
    except KeyError as missing:
        raise ValueError(f"an expectation has no {missing.args[0]}") from None


def name_of_error(error: ServiceError | grpc.StatusCode | None) -> str:
    """Return an error as it is written in an expectation."""
    if error is None:
        return ""
    if isinstance(error, grpc.StatusCode):
        return f"status {error.name}"
    return f"status {error.code.name}" if isinstance(error, UnknownError) else error.reason_name()
