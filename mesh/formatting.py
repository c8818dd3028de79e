"""Formatting of times and amounts of money for mail."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from datetime import datetime

# ISO 4217: number of digits of the minor unit, for currencies without the usual two.
_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF"), 0),
    **dict.fromkeys(("UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def format_time(instant: datetime, zone: str) -> str:
    """Return an instant as local time in a zone: "Monday 3 August 2026, 18:00 (Europe/London)".

    In an hour that occurs twice, the offset is added: "01:30 (Europe/London, UTC+01:00)".
    """
    local = instant.astimezone(ZoneInfo(zone))
    offset = f", UTC{local.isoformat()[-len('+01:00') :]}" if _is_shown_twice(local) else ""
    return f"{local:%A} {local.day} {local:%B %Y, %H:%M} ({zone}{offset})"


def _is_shown_twice(local: datetime) -> bool:
    # PEP 495: the two readings of a local time differ if the clock is set back in that hour. The readings also differ
    # in an hour that the clock skips, but no instant has such a local time.
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def format_money(currency: str, minor_units: int) -> str:
    """Return an amount of minor units as text: "12.50 GBP", "1250 JPY"."""
    digits = _MINOR_DIGITS.get(currency, 2)
    whole, part = divmod(minor_units, 10**digits)
    return f"{whole}.{part:0{digits}} {currency}" if digits else f"{whole} {currency}"
