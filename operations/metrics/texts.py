"""Texts of rates, shares and durations, with their units."""

from __future__ import annotations

# Shares below are shown as "< 0.1 %", because "0 %" would hide errors.
SMALLEST_SHARE = 0.001
ONE_SECOND_MS = 1_000


def rate_text(calls_per_s: float) -> str:
    """Return a rate, such as "0.3/s" or "1,200/s"; "" for none.

    >>> rate_text(0.033), rate_text(12.34), rate_text(1234.5), rate_text(0)
    ('0.03/s', '12/s', '1,234/s', '')
    """
    if not calls_per_s:
        return ""
    digits = 2 if calls_per_s < 1 else 1 if calls_per_s < 10 else 0  # noqa: PLR2004 - the numbers are the digits' limits
    return f"{max(calls_per_s, 0.01):,.{digits}f}/s"


def share_text(share: float | None) -> str:
    """Return a share, such as "2.5 %"; "" for none.

    >>> share_text(0.025), share_text(0.0001), share_text(1.0), share_text(0.0), share_text(None)
    ('2.5 %', '< 0.1 %', '100 %', '0 %', '')
    """
    if share is None:
        return ""
    return "< 0.1 %" if 0 < share < SMALLEST_SHARE else f"{share * 100:.3g} %"


def duration_ms_text(duration_ms: float | None) -> str:
    """Return a duration, such as "4.5 ms" or "1.2 s"; "" for none.

    >>> duration_ms_text(4.52), duration_ms_text(45.2), duration_ms_text(1234), duration_ms_text(None)
    ('4.5 ms', '45 ms', '1.2 s', '')
    """
    if duration_ms is None:
        return ""
    if duration_ms >= ONE_SECOND_MS:
        return f"{duration_ms / ONE_SECOND_MS:.1f} s"
    return f"{duration_ms:.1f} ms" if duration_ms < 10 else f"{duration_ms:.0f} ms"  # noqa: PLR2004 - two digits


def kinds_text(kinds: tuple[str, ...]) -> str:
    """Return the kinds of an edge in words: "call, later call"."""
    return ", ".join(KINDS.get(kind, kind) for kind in kinds)


KINDS = {
    "calls": "call",
    "calls_later": "later call",
    "subscribes_to": "event",
    "outside": "from outside",
    "undeclared": "undeclared",
}
