"""The policy of a method: read once from its descriptor, then plain values in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from contracts.service_error import PLATFORM_REASONS, status_of_number
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.duration_pb2 import Duration

    from solo60.common.v1.errors_pb2 import ErrorReason


class ContractError(Exception):
    """A contract that cannot be served: the sentence names the method and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """When gRPC's core sends a failed call again (gRFC A6); pauses in seconds."""

    max_attempts: int
    initial_backoff_s: float
    max_backoff_s: float
    backoff_multiplier: float
    codes: tuple[grpc.StatusCode, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What `option (solo60.mesh.v1.policy)` of one method says, with its defaults filled in."""

    deadline_s: float
    scopes: frozenset[str]
    retry: Retry | None = None
    idempotency_key_required: bool = False
    calls: tuple[str, ...] = ()
    errors: frozenset[ErrorReason.ValueType] = PLATFORM_REASONS
    contract_only: bool = False


def read_policy(method: MethodDescriptor) -> Policy:
    """Return the policy that `method` declares; raise ContractError when it declares none."""
    options = method.GetOptions()
    if not options.HasExtension(policy_pb2.policy):
        raise ContractError(f"{method.full_name} carries no policy")
    declared = options.Extensions[policy_pb2.policy]
    return Policy(
        deadline_s=seconds(declared.deadline),
        scopes=frozenset(declared.scopes),
        retry=read_retry(declared.retry) if declared.HasField("retry") else None,
        idempotency_key_required=declared.idempotency == policy_pb2.IDEMPOTENCY_REQUIRED,
        calls=tuple(declared.calls),
        errors=PLATFORM_REASONS | frozenset(declared.errors),
        contract_only=declared.contract_only,
    )


def read_retry(declared: policy_pb2.Retry) -> Retry:
    """Return the retries that a policy declares, with their defaults filled in."""
    return Retry(
        max_attempts=declared.max_attempts or 3,
        initial_backoff_s=seconds(declared.initial_backoff) or 0.05,
        max_backoff_s=seconds(declared.max_backoff) or 1.0,
        backoff_multiplier=declared.backoff_multiplier or 2.0,
        codes=tuple(map(status_of_number, declared.codes)) or (grpc.StatusCode.UNAVAILABLE,),
    )


def seconds(duration: Duration) -> float:
    """Return a protobuf duration in seconds."""
    return duration.seconds + duration.nanos / 1e9
