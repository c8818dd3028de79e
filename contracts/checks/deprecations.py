"""Checks of deprecations: each has a sunset, and nobody calls the method after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.edges import EdgeKind
from contracts.image import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject

# Field of MethodOptions in descriptor.proto.
DEPRECATED = 33


def without_sunset(subject: Subject) -> Iterator[Problem]:
    """Yield each method with `deprecated = true` and no notice in its policy."""
    for method, policy in subject.policies:
        if method.GetOptions().deprecated and not policy.HasField("deprecation"):
            message = "is deprecated without a sunset; add deprecation {sunset: ...} to the policy"
            yield subject.problem(method, message, DEPRECATED)


def past_sunset(subject: Subject) -> Iterator[Problem]:
    """Yield each method with callers after its sunset."""
    for method, policy in subject.policies:
        if not policy.deprecation.HasField("sunset"):
            continue
        edges = subject.graph.callers_of(name_of(method))
        callers = [edge.caller for edge in edges if edge.kind is not EdgeKind.EVENT]
        if policy.deprecation.sunset.seconds <= subject.now.timestamp() and callers:
            message = f"deprecation.sunset has passed, and {callers[0]} still calls the method"
            yield subject.in_policy(method, f"{message}; change the caller or the sunset", "deprecation", "sunset")


def replacement_unknown(subject: Subject) -> Iterator[Problem]:
    """Yield each replacement that does not exist."""
    for method, policy in subject.policies:
        replacement = policy.deprecation.replaced_by
        if replacement and replacement not in subject.methods:
            message = f"deprecation.replaced_by: {subject.no_method(replacement)}"
            yield subject.in_policy(method, message, "deprecation", "replaced_by")
