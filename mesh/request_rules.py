"""Request rules: what a request may not hold although no rule of the contract can say so.

Each rule looks at one field and returns its violation or None; `require` refuses the request with all of them at once.
"""

from __future__ import annotations

import functools
import zoneinfo

from contracts.errors import InvalidRequest, Violation

# Files of the zone database that name no place's clock.
_NOT_ZONES = {"Factory", "localtime"}


def require(*violations: Violation | None) -> None:
    """Raise InvalidRequest with those of `violations` that are not None; do nothing when there is none."""
    found = [violation for violation in violations if violation is not None]
    if found:
        fields = ", ".join(violation.field for violation in found)
        raise InvalidRequest(f"The request cannot be carried out: {fields}.", violations=found)


def passed_on(error: InvalidRequest) -> InvalidRequest:
    """Return a callee's refusal as the caller's own: an outbox then gives the message up at once and shows the reason.

    Raised unchanged, the refusal would be an INTERNAL error, because a servicer answers for the requests it makes.
    """
    reasons = "; ".join(f"{violation.field} {violation.description}" for violation in error.violations)
    return InvalidRequest(f"A follow-up call is refused: {reasons}.", violations=error.violations)


def time_zone_known(field: str, name: str) -> Violation | None:
    """Every time zone has an IANA name that this machine's zone database knows, in its very spelling."""
    return None if name in _zone_names() else Violation(field, "must be the IANA name of a time zone")


@functools.cache
def _zone_names() -> frozenset[str]:
    # Reads some 600 files.
    return frozenset(zoneinfo.available_timezones() - _NOT_ZONES)
