"""Explanation of a method's effective policy: every value, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from contracts.durations import duration_text
from contracts.policy import seconds
from contracts.service_error import FIRST_DOMAIN_REASON, PREFIX
from solo60.common.v1.errors_pb2 import ErrorReason
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from google.protobuf.descriptor import FieldDescriptor

    from contracts.method import Method
    from contracts.policy import Hedge, RateLimit, Retry
    from mesh.config import Settings

CONTRACT = "contract"
DEFAULT = "default"
NONE = "none"
# Options that callers, callees and the worst case already show.
EDGES = frozenset({"calls", "calls_later", "parallel_calls", "subscribes_to"})


@dataclass(frozen=True, slots=True)
class Fact:
    """One effective value.

    `name` is the field of the contract ("retry.max_attempts"). `source` is "contract", or "default" if the contract
    does not set the field. If a setting scales the value, `source` shows that: "contract: 10 s, times
    DEADLINE_FACTOR: 2".
    """

    name: str
    value: str
    source: str


def explain(method: Method, settings: Settings) -> list[Fact]:
    """Return the effective values for calls of `method` in a process with `settings`."""
    return list(_Explanation(method, settings).facts())


class _Explanation:
    def __init__(self, method: Method, settings: Settings) -> None:
        descriptor = descriptor_pool.Default().FindMethodByName(f"{method.service}.{method.name}")
        self._options: MethodOptions = descriptor.GetOptions()
        self._declared = self._options.Extensions[policy_pb2.policy]
        self._method = method
        self._settings = settings

    def facts(self) -> Iterator[Fact]:
        facts = [*self._time(), *self._access(), *self._repetition(), *self._load(), *self._declarations()]
        yield from facts
        yield from self._others({fact.name.partition(".")[0] for fact in facts})

    def _time(self) -> Iterator[Fact]:
        policy = self._method.policy
        yield self._scaled_time("deadline", policy.deadline_s)
        yield Fact("own_work", _duration(policy.own_work_s), _source(self._declared, "own_work"))
        if self._method.request_streaming or self._method.response_streaming:
            yield self._scaled_time("idle_timeout", policy.idle_s)

    def _scaled_time(self, name: str, declared_s: float) -> Fact:
        factor, source = self._settings.deadline_factor, _source(self._declared, name)
        if source == CONTRACT:
            source = _scaled(source, _duration(declared_s), "DEADLINE_FACTOR", factor)
        return Fact(name, _duration(declared_s * factor), source)

    def _access(self) -> Iterator[Fact]:
        yield Fact("scopes", ", ".join(sorted(self._method.policy.scopes)), CONTRACT)

    def _repetition(self) -> Iterator[Fact]:
        level = MethodOptions.IdempotencyLevel.Name(self._options.idempotency_level)
        yield Fact("idempotency_level", level, _source(self._options, "idempotency_level"))
        required = "required" if self._method.policy.idempotency_key_required else "not read"
        yield Fact("idempotency", f"key {required}", _source(self._declared, "idempotency"))
        retry, hedge = self._method.policy.retry, self._method.policy.hedge
        yield from _retry(retry, self._declared.retry) if retry else (Fact("retry", NONE, DEFAULT),)
        yield from _hedge(hedge, self._declared.hedge) if hedge else (Fact("hedge", NONE, DEFAULT),)

    def _load(self) -> Iterator[Fact]:
        policy = self._method.policy
        yield Fact("criticality", policy.criticality.name, _source(self._declared, "criticality"))
        if policy.rate_limit is None:
            yield Fact("rate_limit", NONE, DEFAULT)
        else:
            yield from self._rate_limit(policy.rate_limit, self._declared.rate_limit)

    def _rate_limit(self, limit: RateLimit, declared: policy_pb2.RateLimit) -> Iterator[Fact]:
        factor = self._settings.rate_limit_factor
        rate = f"{limit.calls_per_second:g}"
        source = _scaled(CONTRACT, rate, "RATE_LIMIT_FACTOR", factor)
        yield Fact("rate_limit.calls_per_second", f"{limit.calls_per_second * factor:g}", source)
        yield Fact("rate_limit.burst", str(limit.burst), _source(declared, "burst"))
        yield Fact("rate_limit.per_field", limit.per_field or "the caller", _source(declared, "per_field"))

    def _declarations(self) -> Iterator[Fact]:
        policy = self._method.policy
        yield Fact("calls", ", ".join(policy.calls) or NONE, _source(self._declared, "calls"))
        groups = "; ".join(" and ".join(group) for group in policy.parallel_calls)
        yield Fact("parallel_calls", groups or NONE, _source(self._declared, "parallel_calls"))
        own = sorted(reason for reason in policy.errors if reason >= FIRST_DOMAIN_REASON)
        names = ", ".join(ErrorReason.Name(reason).removeprefix(PREFIX) for reason in own)
        yield Fact("errors", names or NONE, _source(self._declared, "errors"))
        if policy.deprecation is not None:
            yield Fact("deprecation.sunset", policy.deprecation.sunset.isoformat(), CONTRACT)
            yield Fact("deprecation.replaced_by", policy.deprecation.replaced_by or NONE, CONTRACT)
        if policy.contract_only:
            yield Fact("contract_only", "no service implements it yet", CONTRACT)

    def _others(self, explained: Collection[str]) -> Iterator[Fact]:
        """Yield the other declared options. These options have no defaults, and no setting changes them."""
        for field, value in self._declared.ListFields():
            if field.name not in explained:
                values = value if field.is_repeated else [value]
                yield Fact(field.name, ", ".join(_text(field, each) for each in values), CONTRACT)


def _retry(retry: Retry, declared: policy_pb2.Retry) -> Iterator[Fact]:
    yield Fact("retry.max_attempts", str(retry.max_attempts), _source(declared, "max_attempts"))
    yield Fact("retry.initial_backoff", _duration(retry.initial_backoff_s), _source(declared, "initial_backoff"))
    yield Fact("retry.max_backoff", _duration(retry.max_backoff_s), _source(declared, "max_backoff"))
    yield Fact("retry.backoff_multiplier", f"{retry.backoff_multiplier:g}", _source(declared, "backoff_multiplier"))
    yield Fact("retry.codes", ", ".join(code.name for code in retry.codes), _source(declared, "codes"))


def _hedge(hedge: Hedge, declared: policy_pb2.Hedge) -> Iterator[Fact]:
    yield Fact("hedge.delay", _duration(hedge.delay_s), CONTRACT)
    yield Fact("hedge.max_attempts", str(hedge.max_attempts), _source(declared, "max_attempts"))


def _source(declared: Message, field: str) -> str:
    return CONTRACT if field in {descriptor.name for descriptor, _ in declared.ListFields()} else DEFAULT


def _text(field: FieldDescriptor, value: object) -> str:
    if isinstance(value, Duration):
        return _duration(seconds(value))
    if isinstance(value, Message):
        return text_format.MessageToString(value, as_one_line=True)
    if field.enum_type is not None and isinstance(value, int):
        return field.enum_type.values_by_number[value].name
    return str(value)


def _scaled(source: str, declared: str, setting: str, factor: float) -> str:
    return source if factor == 1 else f"{source}: {declared}, times {setting}: {factor:g}"


def _duration(seconds: float) -> str:
    return duration_text(seconds) or NONE
