"""Checks of retries and hedges: only calls that are safe to repeat, and each error on one hop of a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import MethodOptions
from google.rpc import code_pb2

from contracts.call_graph import MAX_CHAIN_ATTEMPTS
from contracts.image import name_of
from contracts.policy import DEFAULT_INITIAL_BACKOFF_S, DEFAULT_MAX_BACKOFF_S, is_repeatable, seconds
from solo60.common.v1 import errors_pb2
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject

# AIP-194: after any other code a retry is useless, or the call may already have had its effect.
RETRYABLE_CODES = (code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED, code_pb2.ABORTED)
# The longest deadline, and the multipliers that gRPC core accepts with six digits after the point.
MAX_BACKOFF_S = 3600
MIN_MULTIPLIER, MAX_MULTIPLIER = 1e-6, 1_000_000
UNSAFE = "needs an idempotency_level or IDEMPOTENCY_REQUIRED, otherwise a retry may act twice"


def unsafe(subject: Subject) -> Iterator[Problem]:
    """Yield each retry of a method that may act twice."""
    for method, policy in subject.policies:
        if policy.HasField("retry") and not is_repeatable(method.GetOptions()):
            yield subject.in_policy(method, f"retry {UNSAFE}", "retry")


def useless_code(subject: Subject) -> Iterator[Problem]:
    """Yield each status code that is not retryable."""
    for method, policy in subject.policies:
        for code in policy.retry.codes:
            if code not in RETRYABLE_CODES:
                allowed = ", ".join(map(_name_of_code, RETRYABLE_CODES))
                message = f"retry.codes: {_name_of_code(code)} is not a retryable code (AIP-194); use {allowed}"
                yield subject.in_policy(method, message, "retry", "codes", _name_of_code(code))


def backoff(subject: Subject) -> Iterator[Problem]:
    """Yield each backoff that is negative, or longer than its maximum, and each multiplier out of range."""
    for method, policy in subject.policies:
        factor = policy.retry.backoff_multiplier
        if factor > MAX_MULTIPLIER or 0 < factor < MIN_MULTIPLIER:
            message = f"retry.backoff_multiplier must be {MIN_MULTIPLIER:.6f} to {MAX_MULTIPLIER}, or 0 for the default"
            yield subject.in_policy(method, message, "retry", "backoff_multiplier")
        initial_s = seconds(policy.retry.initial_backoff) or DEFAULT_INITIAL_BACKOFF_S
        max_s = seconds(policy.retry.max_backoff) or DEFAULT_MAX_BACKOFF_S
        if initial_s < 0 or max_s < 0:
            message = "retry.initial_backoff and max_backoff must not be negative"
            yield subject.in_policy(method, message, "retry", "initial_backoff" if initial_s < 0 else "max_backoff")
        elif initial_s > max_s:
            message = f"retry.initial_backoff must not be longer than max_backoff, which is {max_s:g} s"
            yield subject.in_policy(method, message, "retry", "initial_backoff")
        elif max_s > MAX_BACKOFF_S:
            message = f"retry.max_backoff must be at most {MAX_BACKOFF_S} s, as a deadline"
            yield subject.in_policy(method, message, "retry", "max_backoff")


def repeated(subject: Subject) -> Iterator[Problem]:
    """Yield each error that is retried on two hops of a path.

    A platform error is retried only on the hop next to the fault, because servers forbid further retries by pushback. A
    domain error carries no such mark. It is retried twice if a method and one below it declare the error, and both
    retry its code.
    """
    codes = _codes_of_reasons(subject)
    for method, policy in subject.policies:
        retried = [reason for reason in policy.errors if codes.get(reason) in _codes_of(policy)]
        for reason in retried:
            below = _retries_below(subject, name_of(method), reason, codes[reason])
            if below:
                name, code = errors_pb2.ErrorReason.Name(reason), _name_of_code(codes[reason])
                message = f"{name} is retried here and by the caller of {below}; remove {code} from one retry.codes"
                yield subject.in_policy(method, message, "errors", name)


def too_many_attempts(subject: Subject) -> Iterator[Problem]:
    """Yield each entry point whose retries and hedges multiply to more than MAX_CHAIN_ATTEMPTS."""
    for method, _ in subject.policies:
        name = name_of(method)
        if subject.graph.is_entry_point(name):
            attempts, chain = subject.graph.worst_chain(name)
            if attempts > MAX_CHAIN_ATTEMPTS:
                path = " calls ".join(chain[1:])
                message = (
                    f"calls {path}: retries and hedges multiply to {attempts} attempts, above {MAX_CHAIN_ATTEMPTS}"
                )
                yield subject.in_policy(method, f"{message}; lower max_attempts on a hop", "calls", chain[1])


def hedge_unsafe(subject: Subject) -> Iterator[Problem]:
    """Yield each hedge of a method that has side effects."""
    for method, policy in subject.policies:
        if policy.HasField("hedge") and method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS:
            yield subject.in_policy(method, "hedge needs idempotency_level NO_SIDE_EFFECTS; remove the hedge", "hedge")


def _retries_below(subject: Subject, name: str, reason: int, code: int) -> str:
    """Return a method below `name` whose calls are retried after an error that passes every hop, or an empty string."""
    waiting, seen = subject.graph.callees_of(name), {name}
    while waiting:
        callee = waiting.pop(0)
        policy = subject.methods[callee].GetOptions().Extensions[policy_pb2.policy]
        if callee in seen or reason not in policy.errors:
            continue
        if code in _codes_of(policy):
            return callee
        seen.add(callee)
        waiting += subject.graph.callees_of(callee)
    return ""


def _codes_of(policy: policy_pb2.MethodPolicy) -> Collection[int]:
    if not policy.HasField("retry"):
        return ()
    return policy.retry.codes or (code_pb2.UNAVAILABLE,)


def _codes_of_reasons(subject: Subject) -> dict[int, int]:
    """Return the status code of each error reason, as the errors.proto of the image declares it."""
    reasons = subject.image.enum(errors_pb2.ErrorReason.DESCRIPTOR.full_name)
    values = reasons.values if reasons is not None else ()
    return {value.number: value.GetOptions().Extensions[errors_pb2.code] for value in values}


def _name_of_code(code: int) -> str:
    return code_pb2.Code.Name(code) if code in code_pb2.Code.values() else str(code)
