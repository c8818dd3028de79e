"""All checks, each with the id of its findings and a description for docs/contract-checks.md."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

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
    streams,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject


@dataclass(frozen=True, slots=True)
class Check:
    """Check of contracts: `find` yields each problem of one kind, and `description` names the fault."""

    id: str
    find: Callable[[Subject], Iterator[Problem]]
    description: str


CHECKS: tuple[Check, ...] = (
    Check("POLICY_MISSING", policies.missing, "a method without a policy; a service, if no method has one"),
    *(
        Check(
            f"{option.upper()}_RANGE",
            partial(policies.out_of_range, option),
            f"a value of `{option}` that breaks its rule in policy.proto",
        )
        for option in policies.OPTIONS_WITH_RULES
    ),
    Check("IDLE_TIMEOUT_MISSING", streams.idle_timeout_missing, "a stream without `idle_timeout`"),
    Check("IDLE_TIMEOUT_UNARY", streams.idle_timeout_of_unary, "an `idle_timeout` of a unary method"),
    Check("IDLE_TIMEOUT_RANGE", streams.idle_timeout_above_deadline, "an `idle_timeout` of 0 s or above the deadline"),
    Check("SCOPE_MISSING", scopes.missing, "a method that requires no scope"),
    Check("SCOPE_FORM", scopes.malformed, 'a scope that is not of the form "service.verb"'),
    Check("SCOPE_UNUSED", scopes.unused, "a scope that only one method requires and no caller has"),
    Check("SCOPE_EXTERNAL", scopes.external_unknown, "one of `external_scopes` that no method requires"),
    Check("RETRY_UNSAFE", retries.unsafe, "a retry of a method that may act twice"),
    Check("RETRY_CODE", retries.useless_code, "a retried status code that AIP-194 does not allow"),
    Check("RETRY_BACKOFF", retries.backoff, "a backoff that is negative, or longer than its maximum"),
    Check(
        "RETRY_REPEATED",
        retries.repeated,
        "a domain error that two hops of a path retry; the mesh itself keeps platform errors to one hop, by pushback",
    ),
    Check("HEDGE_UNSAFE", retries.hedge_unsafe, "a hedge of a method with side effects"),
    Check("RATE_LIMIT_FIELD", requests.rate_limit_field, "a `per_field` that is no single-valued field"),
    Check("ERRORS_PLATFORM", errors.of_mesh, "a reason in `errors` that belongs to the mesh"),
    Check("ERRORS_REPEATED", errors.listed_twice, "a reason that `errors` lists twice"),
    Check("CALLS_UNKNOWN", calls.unknown, "a call of a method that does not exist"),
    Check("CALLS_SELF", calls.of_own_service, "a call of the service's own method"),
    Check("CALLS_REPEATED", calls.listed_twice, "a method that `calls` lists twice"),
    Check("CALLS_CYCLE", calls.cycle, "calls that form a cycle; later calls and events may"),
    Check("CALLS_EFFECT", calls.with_effects, "a call of a method with side effects by one with NO_SIDE_EFFECTS"),
    Check(
        "CALLS_ATTEMPTS",
        retries.too_many_attempts,
        f"an entry point whose retries multiply to more than {MAX_CHAIN_ATTEMPTS} attempts",
    ),
    Check("DEADLINE_SUM", calls.beyond_deadline, "a deadline shorter than the method's own work and its calls"),
    Check("PARALLEL_CALLS_UNKNOWN", calls.parallel_unknown, "a parallel call that is not in `calls`, or in two groups"),
    Check("CALLS_LATER_UNKNOWN", outbox.later_unknown, "a later call of a method that does not exist"),
    Check("CALLS_LATER_REPEATED", outbox.later_listed_twice, "a method that `calls_later` lists twice"),
    Check("CALLS_LATER_STREAM", outbox.later_stream, "a later call of a stream"),
    Check("CALLS_LATER_UNSAFE", outbox.later_unsafe, "a later call of a method that may act twice"),
    Check("SUBSCRIBES_TO_FIELD", outbox.subscription_without_event, "a subscription whose request has no such event"),
    Check("SUBSCRIBES_TO_EVENT", outbox.subscription_to_other, "a subscription to a message that is no event"),
    Check("SUBSCRIBES_TO_STREAM", outbox.subscription_stream, "a subscription of a stream"),
    Check("SUBSCRIBES_TO_UNSAFE", outbox.subscription_unsafe, "a subscription of a method that may act twice"),
    Check("EVENT_KEY", outbox.event_key, "an `aggregate_key` that is no string field of the event"),
    Check("DEPRECATION_MISSING", deprecations.without_sunset, "`deprecated = true` without a sunset"),
    Check("DEPRECATION_PAST", deprecations.past_sunset, "a method with callers after its sunset"),
    Check("DEPRECATION_UNKNOWN", deprecations.replacement_unknown, "a replacement that does not exist"),
    Check("PAGE_FIELD", requests.page_field, "a list method without the fields of pages (AIP-158)"),
    Check("PAGE_LIMIT", requests.page_limit, "an upper limit on `page_size` (AIP-158)"),
    Check("PORT_MISSING", services.port_missing, "a service of a mesh without a valid `default_port`"),
    Check("PORT_TAKEN", services.port_taken, "a `default_port` of two services"),
    Check("NAME_TAKEN", services.name_taken, "a second part of a package name that two services share"),
    Check("HTTP_CALLS_UNKNOWN", services.http_call_unknown, "one of `http_calls` that the service does not have"),
    Check("PII_UNDECLARED", personal_data.undeclared, "a field with a personal name and without `pii`"),
    Check("TEXT_OPEN", texts.open_text, "a string that allows any character"),
    Check("TEXT_EMAIL", texts.email_format, "protovalidate's format `email`"),
    Check("TEXT_MAP_ADDRESS", texts.address_in_map, "a `mail_address` in a map"),
    Check("TEXT_CONTROL", texts.control_character, "a text of one line that admits a control character"),
)
CHECKS_BY_ID = {check.id: check for check in CHECKS}
