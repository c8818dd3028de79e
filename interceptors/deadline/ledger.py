"""Deadline ledger: time spent and allowed for a call and for each call made on its behalf.

The ledger is sent as trailing metadata `x-deadline-ledger`: first the call itself, then its callees, with one more ">"
for each hop, in milliseconds spent and allowed. "?" marks a time that the caller measured, because the callee sent no
ledger.

    solo60.session.v1.SessionService/BookSession 312/10000, >solo60.payment.v1.PaymentService/Charge 120/9300
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DEADLINE_LEDGER = "x-deadline-ledger"
MAX_HOPS = 20
MAX_BYTES = 2048
# Last entry of a ledger that was cut off.
TRUNCATED = "..."

_SEPARATOR = ", "
_HOP_MARK = ">"
_MEASURED_MARK = "?"
# Every part is bounded, because a ledger comes from another process and is written to logs.
_HOP = re.compile(r"(>{0,15})([A-Za-z][\w.]{0,199}/[A-Za-z]\w{0,99}) (\d{1,9})/(\d{1,9})(\??)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hop:
    """One call of a ledger: full name of its method, milliseconds spent and allowed, and depth.

    `depth` is 0 for the call itself. If `sent_ledger` is false, the callee ran out of time or is not in this mesh, and
    its caller measured the times.
    """

    method: str
    spent_ms: int
    allowed_ms: int
    depth: int = 0
    sent_ledger: bool = True


def hop_entry(method: str, spent_s: float, allowed_s: float) -> str:
    """Return the ledger entry of one call."""
    return f"{method} {int(spent_s * 1000)}/{int(allowed_s * 1000)}"


def full_ledger(own: str, callees: Iterable[str]) -> str:
    """Return a call's ledger from its own entry and those of its callees: at most 20 hops and 2 KiB."""
    entries, room_bytes = [own], MAX_BYTES - len(own) - len(_SEPARATOR + TRUNCATED)
    for entry in callees:
        room_bytes -= len(_SEPARATOR) + len(entry)
        if room_bytes < 0 or len(entries) == MAX_HOPS:
            entries.append(TRUNCATED)
            break
        entries.append(entry)
    return _SEPARATOR.join(entries)


def add_callee(ledger: list[str], measured: str, received: object) -> None:
    """Add the ledger received from a callee to `ledger`, or the entry `measured` if there is no valid one.

    A ledger with more than 20 entries is not extended.
    """
    if len(ledger) > MAX_HOPS:
        return
    entries = _valid_entries(received) or [measured + _MEASURED_MARK]
    ledger.extend(entry if entry == TRUNCATED else _HOP_MARK + entry for entry in entries)


def read_ledger(trailing: Iterable[tuple[str, str | bytes]] | None) -> list[Hop]:
    """Return the hops in a call's trailing metadata, the call itself first; empty without a valid ledger."""
    received = next((value for key, value in trailing or () if key == DEADLINE_LEDGER), None)
    found = [_HOP.fullmatch(entry) for entry in _valid_entries(received)]
    return [
        Hop(each[2], int(each[3]), int(each[4]), depth=len(each[1]), sent_ledger=not each[5]) for each in found if each
    ]


def _valid_entries(received: object) -> list[str]:
    """Return the entries of a received ledger, up to the first invalid one."""
    if not isinstance(received, str) or len(received) > MAX_BYTES:
        return []
    valid = []
    for entry in received.split(_SEPARATOR, MAX_HOPS + 1)[: MAX_HOPS + 1]:
        if entry != TRUNCATED and not _HOP.fullmatch(entry):
            break
        valid.append(entry)
    return valid
