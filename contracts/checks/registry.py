"""All checks, each with the id of its findings and a description for docs/contract-checks.md."""

from __future__ import annotations

from functools import partial

from contracts.call_graph import MAX_CHAIN_ATTEMPTS
from contracts.checks import (
    calls,
    deprecations,
    errors,
    outbox,
    personal_data,
    policies,
    requests,
    retries,
    scopes,
    services,
    source,
    streams,
    texts,
)
from contracts.checks.finding import Check


def _range_of(option: str) -> Check:
    """Return the check of an option's value by its protovalidate rules."""
    find = partial(policies.out_of_range, option)
    return Check(
        f"{option.upper()}_RANGE",
        find,
        f"a value of `{option}` that breaks its rule in policy.proto",
        "a value that the message names",
    )


CHECKS: tuple[Check, ...] = (
    Check(
        "POLICY_MISSING",
        policies.missing,
        "a method without a policy; a service, if no method of the set has one",
        "`option (solo60.mesh.v1.policy)` with a deadline and scopes",
    ),
    *map(_range_of, policies.OPTIONS_WITH_RULES),
    Check(
        "IDLE_TIMEOUT_MISSING",
        streams.idle_timeout_missing,
        "a stream without `idle_timeout`",
        "the longest pause between two messages, at most the deadline",
    ),
    Check(
        "IDLE_TIMEOUT_UNARY",
        streams.idle_timeout_of_unary,
        "an `idle_timeout` of a unary method",
        "nothing: the deadline limits the call",
    ),
    Check(
        "IDLE_TIMEOUT_RANGE",
        streams.idle_timeout_above_deadline,
        "an `idle_timeout` of 0 s, or above the deadline",
        "at most the deadline",
    ),
    Check("SCOPE_MISSING", scopes.missing, "a method that requires no scope", "at least one scope"),
    Check("SCOPE_FORM", scopes.malformed, 'a scope of another form than "service.verb"', 'a scope such as "gym.read"'),
    Check(
        "SCOPE_UNUSED",
        scopes.unused,
        "a scope that only one method of a mesh requires and no caller has",
        "the right spelling, or `external_scopes` of the service",
    ),
    Check(
        "SCOPE_EXTERNAL",
        scopes.external_unknown,
        "one of `external_scopes` that no method requires",
        "nothing, or the right spelling",
    ),
    Check(
        "RETRY_UNSAFE",
        retries.unsafe,
        "a retry of a method that may act twice",
        "an `idempotency_level`, or `idempotency: IDEMPOTENCY_REQUIRED`",
    ),
    Check(
        "RETRY_CODE",
        retries.useless_code,
        "a retried code that AIP-194 does not allow",
        "UNAVAILABLE, RESOURCE_EXHAUSTED or ABORTED",
    ),
    Check(
        "RETRY_BACKOFF",
        retries.backoff,
        "a backoff that is negative, above 1 h or longer than its maximum; a multiplier that gRPC rejects",
        "0 s <= `initial_backoff` <= `max_backoff` <= 1 h",
    ),
    Check(
        "RETRY_REPEATED",
        retries.repeated,
        "a domain error that two hops of a path retry; pushback keeps the retries of platform errors to one hop",
        "the code in one `retry.codes` only",
    ),
    Check("HEDGE_UNSAFE", retries.hedge_unsafe, "a hedge of a method with side effects", "no hedge"),
    Check(
        "RATE_LIMIT_FIELD",
        requests.rate_limit_field,
        "a `per_field` that is no single-valued field of the request",
        "the path of such a field",
    ),
    Check(
        "ERRORS_PLATFORM",
        errors.of_mesh,
        "a reason in `errors` that belongs to the mesh",
        "nothing: any method may return it",
    ),
    Check("ERRORS_REPEATED", errors.listed_twice, "a reason that `errors` lists twice", "each reason once"),
    Check(
        "CALLS_UNKNOWN", calls.unknown, "a call of a method that does not exist", 'its name as "package.Service/Method"'
    ),
    Check("CALLS_SELF", calls.of_own_service, "a call of the service's own method", "a function of the service"),
    Check("CALLS_REPEATED", calls.listed_twice, "a method that `calls` lists twice", "each method once"),
    Check(
        "CALLS_CYCLE",
        calls.cycle,
        "a cycle of calls; later calls and events may form one",
        "`calls_later` or an event for one of the calls",
    ),
    Check(
        "CALLS_EFFECT",
        calls.with_effects,
        "a method with NO_SIDE_EFFECTS that calls one with effects, over any number of hops, or calls later",
        "another `idempotency_level`",
    ),
    Check(
        "CALLS_ATTEMPTS",
        retries.too_many_attempts,
        f"an entry point whose retries and hedges multiply to more than {MAX_CHAIN_ATTEMPTS} attempts",
        "fewer `max_attempts` on a hop",
    ),
    Check(
        "DEADLINE_SUM",
        calls.beyond_deadline,
        "a deadline shorter than `own_work` and the deadlines of the calls",
        "a longer deadline, shorter callees, or `parallel_calls`",
    ),
    Check(
        "PARALLEL_CALLS_UNKNOWN",
        calls.parallel_unknown,
        "a parallel call that is not in `calls`, or in two groups",
        "one of `calls`, in one group",
    ),
    Check(
        "CALLS_LATER_UNKNOWN",
        outbox.later_unknown,
        "a later call of a method that does not exist",
        'its name as "package.Service/Method"',
    ),
    Check(
        "CALLS_LATER_REPEATED", outbox.later_listed_twice, "a method that `calls_later` lists twice", "each method once"
    ),
    Check("CALLS_LATER_STREAM", outbox.later_stream, "a later call of a stream", "a unary method"),
    Check(
        "CALLS_LATER_UNSAFE",
        outbox.later_unsafe,
        "a later call of a method that may act twice",
        "an `idempotency_level` of that method, or IDEMPOTENCY_REQUIRED",
    ),
    Check(
        "SUBSCRIBES_TO_FIELD",
        outbox.subscription_without_event,
        "a subscription whose request does not carry the event",
        "a field `event` of the event's type, and the same name in `subscribes_to`",
    ),
    Check(
        "SUBSCRIBES_TO_EVENT",
        outbox.subscription_to_other,
        "a subscription to a message that is no event",
        "`option (solo60.mesh.v1.event)` in the message",
    ),
    Check("SUBSCRIBES_TO_STREAM", outbox.subscription_stream, "a subscription of a stream", "a unary method"),
    Check(
        "SUBSCRIBES_TO_UNSAFE",
        outbox.subscription_unsafe,
        "a subscription of a method that may act twice",
        "an `idempotency_level`, or IDEMPOTENCY_REQUIRED",
    ),
    Check(
        "EVENT_KEY",
        outbox.event_key,
        "an `aggregate_key` that is no string field of the event",
        "the name of such a field, or nothing",
    ),
    Check(
        "DEPRECATION_MISSING",
        deprecations.without_sunset,
        "`deprecated = true` without a sunset",
        "`deprecation {sunset: ...}` in the policy",
    ),
    Check(
        "DEPRECATION_PAST",
        deprecations.past_sunset,
        "a method with callers after its sunset",
        "other callees in the callers, or a later sunset",
    ),
    Check(
        "DEPRECATION_UNKNOWN",
        deprecations.replacement_unknown,
        "a replacement that does not exist",
        'its name as "package.Service/Method"',
    ),
    Check(
        "PAGE_FIELD",
        requests.page_field,
        "a list method without the fields of pages",
        "`page_size`, `page_token` and `next_page_token` (AIP-158)",
    ),
    Check(
        "PAGE_LIMIT",
        requests.page_limit,
        "an upper limit on `page_size`",
        "no limit: servers lower larger values (AIP-158)",
    ),
    Check(
        "PORT_MISSING",
        services.port_missing,
        "a service without a valid `default_port`, if others of the set have one",
        "a port from 1 to 65535",
    ),
    Check("PORT_TAKEN", services.port_taken, "a `default_port` of two services", "another port"),
    Check(
        "NAME_TAKEN",
        services.name_taken,
        "a last part of a package, before the version, that two services share",
        "another name, such as `trainer` in solo60.trainer.v1",
    ),
    Check(
        "HTTP_CALLS_UNKNOWN",
        services.http_call_unknown,
        "one of `http_calls` that the service does not have",
        "a method of the service",
    ),
    Check(
        "PII_UNDECLARED",
        personal_data.undeclared,
        "a field with a personal name, such as `email`, and without `pii`",
        "`(solo60.mesh.v1.pii) = true`, or `= false` if it is no personal data and no secret",
    ),
    Check(
        "TEXT_OPEN",
        texts.open_text,
        "a string that allows any character",
        "`line`, `name`, `multi_line` or `mail_address` of text.proto, a format, or a pattern of listed characters",
    ),
    Check("TEXT_EMAIL", texts.email_format, "protovalidate's format `email`", "`solo60.common.v1.mail_address`"),
    Check(
        "TEXT_MAP_ADDRESS",
        texts.address_in_map,
        "a `mail_address` in a map",
        "a repeated message with a field for the address",
    ),
    Check(
        "TEXT_CONTROL",
        texts.control_character,
        "a text of one line that admits a control character",
        "a pattern without it, or `multi_line`",
    ),
    Check(
        "CALLS_UNRESOLVED",
        source.unresolved,
        "an access in the code that may be a method of a stub, but whose stub is unknown",
        "an annotation with the class of the stub",
    ),
    Check(
        "CALLS_UNDECLARED",
        source.call_undeclared,
        "a call in the code that no method of the service lists; a method passed on counts as a call",
        "the call in `calls`, or in `http_calls` if an HTTP endpoint calls its own service",
    ),
    Check("CALLS_UNUSED", source.call_unused, "one of `calls` that no code of the service makes", "nothing"),
    Check(
        "CALLS_LATER_UNDECLARED",
        source.later_undeclared,
        "a later call in the code that no method of the service lists",
        "the call in `calls_later`",
    ),
    Check(
        "CALLS_LATER_UNUSED", source.later_unused, "one of `calls_later` that no code of the service makes", "nothing"
    ),
    Check(
        "HTTP_CALLS_UNUSED", source.http_call_unused, "one of `http_calls` that no code of the service makes", "nothing"
    ),
    Check(
        "EVENT_FOREIGN",
        source.event_foreign,
        "an event of another package that the code publishes",
        "an event of the service's own package",
    ),
    Check("EVENT_UNUSED", source.event_unused, "an event that no code of its package publishes", "nothing"),
    Check(
        "ERRORS_UNDECLARED",
        source.error_undeclared,
        "an error that the code raises and no method of the service lists",
        "the reason in `errors` of the method",
    ),
)
CHECKS_BY_ID = {check.id: check for check in CHECKS}
