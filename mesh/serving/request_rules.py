"""Validation rules for requests that a contract cannot express.

Each rule checks one field and returns its violation or None. `require` rejects a request with all violations at once.
"""

from __future__ import annotations

import functools
import zoneinfo

from contracts.errors import InvalidRequest, Violation

# Files of the time zone database that are not time zones of a place.
_NOT_ZONES = {"Factory", "localtime"}


def require(*violations: Violation | None) -> None:
    """Raise InvalidRequest with those of `violations` that are not None; do nothing if there are none."""
    found = [violation for violation in violations if violation is not None]
    if found:
        fields = ", ".join(violation.field for violation in found)
        raise InvalidRequest(f"The request is invalid: {fields}.", violations=found)


def as_own_error(error: InvalidRequest) -> InvalidRequest:
    """Return a callee's InvalidRequest as the service's own, so that an outbox makes a dead letter with the reason.

    Raised unchanged, it would become an INTERNAL error, because a servicer is responsible for its own requests.
    """
    reasons = "; ".join(f"{violation.field} {violation.description}" for violation in error.violations)
    return InvalidRequest(f"A follow-up call was rejected: {reasons}.", violations=error.violations)


def time_zone_known(field: str, name: str) -> Violation | None:
    """Return a violation unless `name` is an IANA time zone in this machine's database, in its exact spelling."""
    return None if name in _zone_names() else Violation(field, "must be the IANA name of a time zone")


@functools.cache
def _zone_names() -> frozenset[str]:
    # Cached, because this reads about 600 files.
    return frozenset(zoneinfo.available_timezones() - _NOT_ZONES)
