"""Sets of gRPC status codes, each with one meaning."""

from __future__ import annotations

from grpc import StatusCode

# The same call may succeed later.
TRANSIENT = frozenset({StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.DEADLINE_EXCEEDED})

# The callee may be at fault: circuit breakers count these codes as failures.
CALLEE_FAULTS = frozenset(
    {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.INTERNAL, StatusCode.UNKNOWN}
)

# Limiters, checks and cancellations by the caller cause these codes, which say nothing about the method's health.
UNRELATED_TO_HEALTH = frozenset(
    {
        StatusCode.CANCELLED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNAUTHENTICATED,
        StatusCode.PERMISSION_DENIED,
        StatusCode.INVALID_ARGUMENT,
        StatusCode.UNIMPLEMENTED,
    }
)

# OpenTelemetry's conventions mark a server span with one of these codes as an error. Other rejections are normal
# responses. On a client span, every code except OK is an error.
SERVER_SPAN_ERRORS = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)

# The receiver of an outbox message or the network is unavailable: the attempt does not count.
RECEIVER_UNAVAILABLE = frozenset(
    {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.CANCELLED, StatusCode.ABORTED}
)

# The cause may be the outbox message, the receiver, a rollout or a key rotation: the attempt counts and is repeated.
COUNTED_ATTEMPTS = frozenset(
    {
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.INTERNAL,
        StatusCode.UNKNOWN,
        StatusCode.DATA_LOSS,
        StatusCode.UNIMPLEMENTED,
        StatusCode.UNAUTHENTICATED,
        StatusCode.PERMISSION_DENIED,
    }
)
