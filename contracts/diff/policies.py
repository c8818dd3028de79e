"""Differences between two policies of one method. A value that a policy omits counts as its default."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from google.rpc.code_pb2 import UNAVAILABLE, Code

from contracts.diff.change import Difference
from contracts.policy import read_retry, seconds
from solo60.common.v1.errors_pb2 import ErrorReason
from solo60.mesh.v1.policy_pb2 import CRITICALITY_NORMAL, Criticality, MethodPolicy, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.timestamp_pb2 import Timestamp

    Comparison = Callable[[MethodPolicy, MethodPolicy], Iterator[Difference]]


def differences(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    """Yield the differences between two policies, except their calls."""
    for compare in COMPARISONS:
        yield from compare(old, new)


def _deadline(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    times = (seconds(old.deadline) or math.inf, seconds(new.deadline) or math.inf)
    yield from ordered("deadline", times, "DEADLINE_LENGTHENED", "DEADLINE_SHORTENED", unit=" s")


def _idle_timeout(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    if old.HasField("idle_timeout") or new.HasField("idle_timeout"):
        times = (_longest_pause_s(old), _longest_pause_s(new))
        yield from ordered("idle_timeout", times, "IDLE_TIMEOUT_LENGTHENED", "IDLE_TIMEOUT_SHORTENED", unit=" s")


def _longest_pause_s(policy: MethodPolicy) -> float:
    """Return the idle timeout of a stream; without one, a stream may pause until its deadline."""
    return seconds(policy.idle_timeout) or seconds(policy.deadline) or math.inf


def _scopes(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    yield from listed("scopes", (old.scopes, new.scopes), "SCOPE_ADDED", "SCOPE_REMOVED")


def _errors(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    before, now = ([name_in(ErrorReason.DESCRIPTOR, each) for each in policy.errors] for policy in (old, new))
    yield from listed("errors", (before, now), "ERROR_ADDED", "ERROR_REMOVED")


def _retry(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    wider, narrower = "RETRY_WIDENED", "RETRY_NARROWED"
    if not (old.HasField("retry") and new.HasField("retry")):
        yield from _presence("retry", old, new, wider, narrower)
        return
    before, now = (read_retry(_without_codes(each.retry)) for each in (old, new))
    yield from ordered("retry.max_attempts", (before.max_attempts, now.max_attempts), wider, narrower)
    yield from listed("retry.codes", (_codes_of(old.retry), _codes_of(new.retry)), wider, narrower)
    initial, longest = (before.initial_backoff_s, now.initial_backoff_s), (before.max_backoff_s, now.max_backoff_s)
    yield from ordered("retry.initial_backoff", initial, narrower, wider, unit=" s")
    yield from ordered("retry.max_backoff", longest, narrower, wider, unit=" s")
    growth = (before.backoff_multiplier, now.backoff_multiplier)
    yield from ordered("retry.backoff_multiplier", growth, narrower, wider)


def _hedge(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    wider, narrower = "HEDGE_WIDENED", "HEDGE_NARROWED"
    if not (old.HasField("hedge") and new.HasField("hedge")):
        yield from _presence("hedge", old, new, wider, narrower)
        return
    attempts = (old.hedge.max_attempts or 2, new.hedge.max_attempts or 2)
    yield from ordered("hedge.max_attempts", attempts, wider, narrower)
    delays = (seconds(old.hedge.delay), seconds(new.hedge.delay))
    yield from ordered("hedge.delay", delays, narrower, wider, unit=" s")


def _rate_limit(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    raised, lowered = "RATE_LIMIT_RAISED", "RATE_LIMIT_LOWERED"
    if not (old.HasField("rate_limit") and new.HasField("rate_limit")):
        yield from _presence("rate_limit", old, new, lowered, raised)
        return
    before, now = old.rate_limit, new.rate_limit
    rates = (before.calls_per_second, now.calls_per_second)
    yield from ordered("rate_limit.calls_per_second", rates, raised, lowered)
    yield from ordered("rate_limit.burst", (before.burst or 1, now.burst or 1), raised, lowered)
    if before.per_field != now.per_field:
        text = f"rate_limit.per_field: {before.per_field or 'none'} before, {now.per_field or 'none'} now."
        yield Difference("RATE_LIMIT_FIELD_CHANGED", text, ("rate_limit", "per_field"))


def _criticality(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    before, now = (each.criticality or CRITICALITY_NORMAL for each in (old, new))
    if before != now:
        names = [name_in(Criticality.DESCRIPTOR, each) for each in (before, now)]
        text = f"criticality: {names[0]} before, {names[1]} now."
        yield Difference("CRITICALITY_RAISED" if now > before else "CRITICALITY_LOWERED", text, ("criticality",))


def _idempotency(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    if new.idempotency > old.idempotency:
        yield Difference("IDEMPOTENCY_KEY_REQUIRED", "idempotency: a key is required now.", ("idempotency",))
    elif new.idempotency < old.idempotency:
        text = "idempotency: a key was required before, and is ignored now."
        yield Difference("IDEMPOTENCY_DROPPED", text, ("idempotency",))


def _deprecation(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    if not (old.HasField("deprecation") and new.HasField("deprecation")):
        yield from _presence("deprecation", old, new, "DEPRECATED", "DEPRECATION_REMOVED")
        return
    before, now = old.deprecation, new.deprecation
    if before.sunset != now.sunset:
        earlier = (now.sunset.seconds, now.sunset.nanos) < (before.sunset.seconds, before.sunset.nanos)
        text = f"deprecation.sunset: {_time_text(before.sunset)} before, {_time_text(now.sunset)} now."
        yield Difference("SUNSET_EARLIER" if earlier else "SUNSET_LATER", text, ("deprecation", "sunset"))
    if before.replaced_by != now.replaced_by:
        text = f"deprecation.replaced_by: {before.replaced_by or 'none'} before, {now.replaced_by or 'none'} now."
        yield Difference("REPLACEMENT_CHANGED", text, ("deprecation", "replaced_by"))


def _contract_only(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    if old.contract_only != new.contract_only:
        id_ = "METHOD_UNIMPLEMENTED" if new.contract_only else "METHOD_IMPLEMENTED"
        text = f"contract_only: {old.contract_only} before, {new.contract_only} now.".lower()
        yield Difference(id_, text, ("contract_only",))


def _subscription(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    if old.subscribes_to != new.subscribes_to:
        id_ = "SUBSCRIPTION_REMOVED" if old.subscribes_to else "SUBSCRIPTION_ADDED"
        text = f"subscribes_to: {old.subscribes_to or 'none'} before, {new.subscribes_to or 'none'} now."
        yield Difference(id_, text, ("subscribes_to",))


def _own_work(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    if old.own_work != new.own_work:
        before, now = (
            f"{seconds(each.own_work):g} s" if each.HasField("own_work") else "default" for each in (old, new)
        )
        yield Difference("OWN_WORK_CHANGED", f"own_work: {before} before, {now} now.", ("own_work",))


def _parallel_calls(old: MethodPolicy, new: MethodPolicy) -> Iterator[Difference]:
    before, now = ({" with ".join(sorted(group.calls)) for group in each.parallel_calls} for each in (old, new))
    yield from listed("parallel_calls", (before, now), "PARALLEL_CALLS_CHANGED", "PARALLEL_CALLS_CHANGED")


COMPARISONS: tuple[Comparison, ...] = (
    _deadline,
    _idle_timeout,
    _scopes,
    _errors,
    _retry,
    _hedge,
    _rate_limit,
    _criticality,
    _idempotency,
    _deprecation,
    _contract_only,
    _subscription,
    _own_work,
    _parallel_calls,
)


def ordered(name: str, values: tuple[float, float], higher: str, lower: str, *, unit: str = "") -> Iterator[Difference]:
    """Yield a difference with the id `higher` or `lower` if a number differs. An infinite number means none."""
    old, new = values
    if old != new:
        before, now = ("none" if math.isinf(each) else f"{each:g}{unit}" for each in values)
        text = f"{name}: {before} before, {now} now."
        yield Difference(higher if new > old else lower, text, tuple(name.split(".")))


def listed(name: str, values: tuple[Iterable[str], Iterable[str]], added: str, removed: str) -> Iterator[Difference]:
    """Yield a difference for each value that only the old or only the new list has."""
    before, now = map(set, values)
    path = tuple(name.split("."))
    for value in sorted(now - before):
        yield Difference(added, f"{name}: {value} is new.", (*path, value))
    for value in sorted(before - now):
        yield Difference(removed, f"{name}: {value} is gone.", (*path, value))


def _presence(name: str, old: MethodPolicy, new: MethodPolicy, added: str, removed: str) -> Iterator[Difference]:
    """Yield a difference if only one of two policies has the message `name`."""
    if old.HasField(name) != new.HasField(name):  # type: ignore[arg-type]  # the stubs list the names
        is_added = new.HasField(name)  # type: ignore[arg-type]  # as above
        yield Difference(added if is_added else removed, f"{name} is {'new' if is_added else 'gone'}.", (name,))


def _codes_of(retry: Retry) -> list[str]:
    return [name_in(Code.DESCRIPTOR, each) for each in retry.codes or (UNAVAILABLE,)]


def _without_codes(retry: Retry) -> Retry:
    other = Retry()
    other.CopyFrom(retry)
    other.ClearField("codes")
    return other


def _time_text(time: Timestamp) -> str:
    try:
        return time.ToJsonString()
    except ValueError:  # outside of the years 1 to 9999
        return f"{time.seconds} s"


def name_in(enum: EnumDescriptor, number: int) -> str:
    """Return the name of a value of an enum, or its number if a later version of the enum has it."""
    value = enum.values_by_number.get(number)
    return value.name if value is not None else str(number)
