"""Checks of streams: each limits its pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.policy import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import MethodDescriptor

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject


def is_stream(method: MethodDescriptor) -> bool:
    """Return whether a method streams its requests or its responses."""
    return bool(method.client_streaming or method.server_streaming)


def idle_timeout_missing(subject: Subject) -> Iterator[Problem]:
    """Yield each stream without an idle_timeout."""
    for method, policy in subject.policies:
        if is_stream(method) and not policy.HasField("idle_timeout"):
            message = "is a stream and needs an idle_timeout: the longest pause between two messages"
            yield subject.in_policy(method, f"{message}, at most the deadline")


def idle_timeout_of_unary(subject: Subject) -> Iterator[Problem]:
    """Yield each unary method with an idle_timeout."""
    for method, policy in subject.policies:
        if policy.HasField("idle_timeout") and not is_stream(method):
            message = "idle_timeout is only allowed for streams; remove it, because the deadline limits the call"
            yield subject.in_policy(method, message, "idle_timeout")


def idle_timeout_above_deadline(subject: Subject) -> Iterator[Problem]:
    """Yield each idle_timeout of a stream that is not above 0 s, or longer than the deadline."""
    for method, policy in subject.policies:
        if policy.HasField("idle_timeout") and is_stream(method):
            limit_s = seconds(policy.deadline)
            if not 0 < seconds(policy.idle_timeout) <= limit_s:
                message = f"idle_timeout must be above 0 s and at most the deadline of {limit_s:g} s"
                yield subject.in_policy(method, message, "idle_timeout")
