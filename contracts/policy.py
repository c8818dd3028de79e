"""Policy of a method: read from its descriptor once, into plain values with times in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING

import grpc
from google.protobuf.descriptor_pb2 import MethodOptions

from contracts.service_error import PLATFORM_REASONS, status_of_number
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
    from google.protobuf.duration_pb2 import Duration

    from solo60.common.v1.errors_pb2 import ErrorReason

DEFAULT_OWN_WORK_S = 0.1
DEFAULT_ATTEMPTS = 3
DEFAULT_HEDGED_ATTEMPTS = 2
DEFAULT_INITIAL_BACKOFF_S = 0.05
DEFAULT_MAX_BACKOFF_S = 1.0
REPEATABLE_LEVELS = frozenset({MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT})


class ContractError(Exception):
    """Unusable or violated contract; the message names the method and the problem."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Retry policy, carried out by gRPC's core (gRFC A6); backoffs in seconds."""

    max_attempts: int
    initial_backoff_s: float
    max_backoff_s: float
    backoff_multiplier: float
    codes: tuple[grpc.StatusCode, ...]


@dataclass(frozen=True, slots=True)
class Hedge:
    """Hedging policy: a slow call is sent again after `delay_s` seconds, before the first attempt has failed."""

    delay_s: float
    max_attempts: int


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Rate limit per caller, or per value of the request field `per_field` if it is set."""

    calls_per_second: float
    burst: int
    per_field: str


class Criticality(IntEnum):
    """Importance of a call, in ascending order. Under load, servers reject the least important calls first."""

    SHEDDABLE = policy_pb2.CRITICALITY_SHEDDABLE
    NORMAL = policy_pb2.CRITICALITY_NORMAL
    CRITICAL = policy_pb2.CRITICALITY_CRITICAL


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Planned removal of a method: at `sunset` (UTC) or later. `replaced_by` is its replacement, or empty."""

    sunset: datetime
    replaced_by: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Values of `option (solo60.mesh.v1.policy)` of one method, including defaults.

    `idle_s` is the longest pause between two messages of a stream. `is_repeatable` is true if a call can safely be sent
    again, because of its `idempotency_level` or an idempotency key. `subscribes_to` is the full name of an event, or
    empty. `own_work_s` is the longest time of the handler without its calls. `parallel_calls` are groups of `calls` at
    the same time.
    """

    deadline_s: float
    scopes: frozenset[str]
    idle_s: float = math.inf
    retry: Retry | None = None
    hedge: Hedge | None = None
    rate_limit: RateLimit | None = None
    criticality: Criticality = Criticality.NORMAL
    idempotency_key_required: bool = False
    is_repeatable: bool = False
    deprecation: Deprecation | None = None
    calls: tuple[str, ...] = ()
    calls_later: tuple[str, ...] = ()
    subscribes_to: str = ""
    errors: frozenset[ErrorReason.ValueType] = PLATFORM_REASONS
    contract_only: bool = False
    own_work_s: float = DEFAULT_OWN_WORK_S
    parallel_calls: tuple[tuple[str, ...], ...] = ()


def declares_policy(method: MethodDescriptor) -> bool:
    """Return whether `method` declares a policy."""
    return bool(method.GetOptions().HasExtension(policy_pb2.policy))


def is_event(message: Descriptor) -> bool:
    """Return whether a message is declared to be an event."""
    return bool(message.GetOptions().HasExtension(policy_pb2.event))


def read_policy(method: MethodDescriptor) -> Policy:
    """Return the policy that `method` declares; raise ContractError if it declares none."""
    if not declares_policy(method):
        raise ContractError(f"{method.full_name} has no policy: add option (solo60.mesh.v1.policy) to it.")
    options = method.GetOptions()
    declared = options.Extensions[policy_pb2.policy]
    return Policy(
        deadline_s=seconds(declared.deadline),
        scopes=frozenset(declared.scopes),
        idle_s=seconds(declared.idle_timeout) or math.inf,
        retry=read_retry(declared.retry) if declared.HasField("retry") else None,
        hedge=_read_hedge(declared.hedge) if declared.HasField("hedge") else None,
        rate_limit=_read_rate_limit(declared.rate_limit) if declared.HasField("rate_limit") else None,
        criticality=Criticality(declared.criticality or policy_pb2.CRITICALITY_NORMAL),
        idempotency_key_required=declared.idempotency == policy_pb2.IDEMPOTENCY_REQUIRED,
        is_repeatable=is_repeatable(options),
        deprecation=_read_deprecation(declared.deprecation) if declared.HasField("deprecation") else None,
        calls=tuple(declared.calls),
        calls_later=tuple(declared.calls_later),
        subscribes_to=declared.subscribes_to,
        errors=PLATFORM_REASONS | frozenset(declared.errors),
        contract_only=declared.contract_only,
        own_work_s=seconds(declared.own_work) or DEFAULT_OWN_WORK_S,
        parallel_calls=tuple(tuple(group.calls) for group in declared.parallel_calls),
    )


def is_repeatable(options: MethodOptions) -> bool:
    """Return whether a method with these options acts once, even if the same call is sent repeatedly.

    The options must include a policy.
    """
    has_key = options.Extensions[policy_pb2.policy].idempotency == policy_pb2.IDEMPOTENCY_REQUIRED
    return has_key or options.idempotency_level in REPEATABLE_LEVELS


def read_retry(declared: policy_pb2.Retry) -> Retry:
    """Return the retry policy of a declaration, including defaults."""
    return Retry(
        max_attempts=declared.max_attempts or DEFAULT_ATTEMPTS,
        initial_backoff_s=seconds(declared.initial_backoff) or DEFAULT_INITIAL_BACKOFF_S,
        max_backoff_s=seconds(declared.max_backoff) or DEFAULT_MAX_BACKOFF_S,
        backoff_multiplier=declared.backoff_multiplier or 2.0,
        codes=tuple(map(status_of_number, declared.codes)) or (grpc.StatusCode.UNAVAILABLE,),
    )


def _read_hedge(declared: policy_pb2.Hedge) -> Hedge:
    return Hedge(delay_s=seconds(declared.delay), max_attempts=declared.max_attempts or DEFAULT_HEDGED_ATTEMPTS)


def _read_rate_limit(declared: policy_pb2.RateLimit) -> RateLimit:
    return RateLimit(declared.calls_per_second, declared.burst or 1, declared.per_field)


def _read_deprecation(declared: policy_pb2.Deprecation) -> Deprecation:
    return Deprecation(declared.sunset.ToDatetime(UTC), declared.replaced_by)


def seconds(duration: Duration) -> float:
    """Return a protobuf duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def field_at(message: Descriptor | None, path: str) -> FieldDescriptor | None:
    """Return the single-valued field at a dotted path ("user.id") below a message type.

    Returns None if the path does not exist, or leads to a message or a repeated field.
    """
    field: FieldDescriptor | None = None
    for name in path.split("."):
        field = message.fields_by_name.get(name) if message else None
        if field is None or field.is_repeated:
            return None
        message = field.message_type
    return field if message is None else None
