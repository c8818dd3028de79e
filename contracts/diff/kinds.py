"""Kinds of changes: the severity of each, its meaning for callers, and the alternative."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Severity of a change, the worst first.

    A breaking change makes calls fail, or act differently, that are correct under the old contract. A risky change may
    do so, depending on the caller. A safe change does not.
    """

    BREAKING = "breaking"
    RISKY = "risky"
    SAFE = "safe"


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of change. `advice` is its meaning for callers, and the alternative."""

    severity: Severity
    advice: str


def _breaking(advice: str) -> Kind:
    return Kind(Severity.BREAKING, advice)


def _risky(advice: str) -> Kind:
    return Kind(Severity.RISKY, advice)


def _safe(advice: str) -> Kind:
    return Kind(Severity.SAFE, advice)


KINDS = {
    # Methods.
    "METHOD_REMOVED": _breaking(
        "Calls fail with UNIMPLEMENTED, and outbox messages become dead letters. Deprecate it, and remove it after the "
        "sunset."
    ),
    "METHOD_UNIMPLEMENTED": _breaking("Calls fail with UNIMPLEMENTED. Deprecate the method instead."),
    "METHOD_IMPLEMENTED": _safe("Callers can use the method."),
    "POLICY_REMOVED": _breaking(
        "The method has no deadline, and callers need the scope mesh.inspect. Declare a policy."
    ),
    "DEADLINE_SHORTENED": _breaking(
        "Calls that were in time fail with DEADLINE_EXCEEDED. Make the method faster first, or add a new method."
    ),
    "DEADLINE_LENGTHENED": _safe("Slow calls have more time."),
    "DEADLINE_BEYOND_CALLER": _risky(
        "The caller's deadline ends before this one. Lengthen the deadline of the caller too."
    ),
    "IDLE_TIMEOUT_SHORTENED": _breaking(
        "Streams with longer pauses fail with DEADLINE_EXCEEDED. Add a new method, or make every sender faster first."
    ),
    "IDLE_TIMEOUT_LENGTHENED": _safe("Streams may pause longer."),
    "SCOPE_ADDED": _breaking(
        "Keys without the scope get PERMISSION_DENIED. Add a new method, or issue new keys to all callers before the "
        "release."
    ),
    "SCOPE_REMOVED": _safe("Existing keys still suffice."),
    "RETRY_WIDENED": _risky("Callers send more attempts after a failure. Check the load and the attempts of chains."),
    "RETRY_NARROWED": _risky("Callers see more temporary failures. Check that callers handle them."),
    "HEDGE_WIDENED": _risky("Callers send more attempts of slow calls. Check the load of the service."),
    "HEDGE_NARROWED": _safe("Slow calls take longer, and the service has less load."),
    "RATE_LIMIT_LOWERED": _risky(
        "Callers above the limit get RESOURCE_EXHAUSTED. Check the call rates in the metrics first."
    ),
    "RATE_LIMIT_RAISED": _safe("Callers may call more often."),
    "RATE_LIMIT_FIELD_CHANGED": _risky("Calls are counted in other groups. Check the rate of each group first."),
    "CRITICALITY_LOWERED": _risky("An overloaded service rejects these calls earlier. Check which journeys need them."),
    "CRITICALITY_RAISED": _safe("An overloaded service rejects these calls later."),
    "IDEMPOTENCY_KEY_REQUIRED": _breaking("Calls without a key fail with INVALID_ARGUMENT. Add a new method instead."),
    "IDEMPOTENCY_DROPPED": _breaking(
        "Repeated calls with the same key act again. Keep the key, or add a new method without one."
    ),
    "IDEMPOTENCY_LEVEL_WEAKENED": _breaking(
        "Callers that repeat or hedge calls may act twice. Keep the method safe to repeat, or add a new method."
    ),
    "IDEMPOTENCY_LEVEL_STRENGTHENED": _safe("Callers may repeat calls."),
    "ERROR_ADDED": _risky("Callers do not know the reason, and treat it like any error of its status code."),
    "ERROR_REMOVED": _breaking(
        "Callers that handle the reason get another error, or none. Deprecate the method and add a new one, or keep "
        "the reason."
    ),
    "ERROR_CODE_CHANGED": _breaking("Callers that branch on the status code take another path. Add a new reason."),
    "DEPRECATED": _risky("Callers must move to the replacement before the sunset."),
    "DEPRECATION_REMOVED": _safe("Callers can stay."),
    "SUNSET_EARLIER": _risky("Callers have less time to move. Ask their owners."),
    "SUNSET_LATER": _safe("Callers have more time to move."),
    "REPLACEMENT_CHANGED": _safe("Callers should move to the new replacement."),
    # Calls and keys.
    "CALL_ADDED": _safe("Callers notice nothing, but the key of the service needs these scopes before the release."),
    "CALL_REMOVED": _safe("Issue a new key without scopes that no other call needs."),
    "OWN_WORK_CHANGED": _safe("Callers notice nothing: the deadline is the same."),
    "PARALLEL_CALLS_CHANGED": _safe("Callers notice nothing: the deadline is the same."),
    "DEFAULT_PORT_CHANGED": _breaking(
        "Callers without an address of the service in their settings call the old port. Keep the port, or set the "
        "address in every caller first."
    ),
    # Events.
    "SUBSCRIPTION_ADDED": _safe("The key of the publisher needs the scopes of the method before the release."),
    "SUBSCRIPTION_REMOVED": _breaking(
        "The method gets no further events, and its effects end. Subscribe with another method first."
    ),
    "EVENT_REMOVED": _breaking("Subscribers get no further events. Remove the subscriptions first."),
    "EVENT_ADDED": _safe("Methods may subscribe to the event."),
    "AGGREGATE_KEY_CHANGED": _breaking(
        "Subscribers get events in another order. Publish a new event with the new key instead."
    ),
    "EVENT_FIELD_REMOVED": _breaking(
        "Subscribers read an empty value, also in stored events. Keep the field until no subscriber reads it."
    ),
    # Fields.
    "FIELD_DEPRECATED": _risky("Callers must move to another field before this one is removed."),
    "FIELD_DEPRECATION_REMOVED": _safe("Callers can stay."),
    "REQUEST_FIELD_REQUIRED": _breaking(
        "Requests of existing callers lack the new field and fail with INVALID_ARGUMENT. Accept its absence."
    ),
    "REQUEST_RULE_TIGHTENED": _breaking(
        "Requests that were valid fail with INVALID_ARGUMENT. Add a new field or method, or check first that no caller "
        "sends such values."
    ),
    "REQUEST_RULE_LOOSENED": _safe("The server accepts more requests."),
    "RESPONSE_RULE_LOOSENED": _breaking("Readers get values that the old contract excluded. Add a new field for them."),
    "RESPONSE_RULE_TIGHTENED": _safe("Readers get fewer different values."),
    "RULE_CHANGED": _risky(
        "The rules cannot be compared. Check that every old request is valid, and every reader ready."
    ),
    "PAGE_LIMIT_LOWERED": _breaking(
        "Callers that read one page get fewer entries. Keep the limit, or check first that callers read all pages."
    ),
    "PII_REMOVED": _breaking(
        "The value appears in logs, spans, error details and recordings. Keep the option, or add a new field."
    ),
    "PII_ADDED": _safe("The value no longer appears in logs, spans and recordings."),
}
