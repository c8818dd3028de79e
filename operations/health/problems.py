"""Problems of a mesh: each with its harm, a sentence, the page that shows more, and the command that helps.

The functions are pure. `now.py` reads the mesh and calls them.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, cast

from contracts.names import short_name
from contracts.services import SERVICE_NAMES
from local.keys import needless_scopes
from local.parts import CONSOLE, MAIL_SINK, POSTGRES, STARTING
from mesh.serving.health_probe import SERVING
from operations.addresses import page_address
from operations.keys import EXPIRES_SOON
from operations.texts import as_sentence, rough_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime, timedelta
    from pathlib import Path

    from interceptors.keys.keyring import KeyRecord
    from operations.health.diagnosis import MeshState
    from operations.health.report import Report
    from operations.logs.watch import UndeclaredCall

# The relay retries an unreachable receiver within seconds, so a message that is this late is stuck.
LATE_S = 60.0
# The remedy at the end of a trouble, as the services write it: "some mail could not be sent (see: solo60 ...)".
_REMEDY = re.compile(r" \(see: (?P<command>solo60 [^()]+)\)$")


class Harm(IntEnum):
    """Harm of a problem, the greatest first."""

    OUTAGE = 0
    """Calls fail now."""
    STUCK = 1
    """Work waits or was given up."""
    UNKNOWN = 2
    """A source could not be read, so it may hide a problem."""
    RISK = 3
    """Calls will fail, or a key can do more than it should."""
    NOTE = 4
    """Nothing is wrong, but it explains surprises."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `subject` names the parts. `page` is a path of the console. `page` and `command` may be ""."""

    harm: Harm
    subject: str
    sentence: str
    page: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class LateMessages:
    """Due outbox messages of `service` to one method. The oldest has been due for `late_s` seconds."""

    service: str
    destination: str
    due: int
    late_s: float


def problems_of_services(report: Report) -> Iterator[Problem]:
    """Yield the services that are not SERVING, then troubles, breakers and dead letters of those that are."""
    down: dict[tuple[str, str], list[str]] = {}
    troubled: dict[str, list[str]] = {}
    for name, entry in report.items():
        if entry["status"] != SERVING:
            down.setdefault((str(entry["reason"]), str(entry["next"])), []).append(name)
            continue
        for trouble in cast("list[str]", entry.get("troubles", [])):
            if not trouble.startswith("DATA_DIR: "):
                troubled.setdefault(trouble, []).append(name)
    for (reason, command), names in down.items():
        # The mesh reports the end of a process as a predicate: "was killed by signal 9".
        sentence = f"{' and '.join(names)} {reason}" if reason[:1].islower() else reason
        yield Problem(Harm.OUTAGE, ", ".join(names), sentence, _log_page(names), command)
    for trouble, names in troubled.items():
        yield _trouble(trouble, names)
    for name, entry in report.items():
        yield from _open_breakers(name, cast("dict[str, str]", entry.get("breakers", {})))
        for method in cast("list[str]", entry.get("dead_letters", [])):
            sentence = f"Messages to {short_name(method)} were given up and wait for a decision."
            page = page_address("outbox", service=name, status="dead")
            yield Problem(Harm.STUCK, name, sentence, page, f"solo60 outbox list {name} --dead")


def problems_of_parts(mesh: MeshState, data_dir: Path, reported: Iterable[Problem]) -> Iterator[Problem]:
    """Yield the faults of the disk and of parts that are no services, except those that `reported` already contains."""
    if mesh.runs and mesh.disk:
        yield Problem(
            Harm.OUTAGE, "disk", as_sentence(mesh.disk), command=f"df -h {shlex.quote(str(data_dir.absolute()))}"
        )
    for part, state in mesh.states.items():
        if part in SERVICE_NAMES or state == SERVING or any(state in each.sentence for each in reported):
            continue
        harm = Harm.OUTAGE if part == POSTGRES else Harm.STUCK
        sentence = f"{part} is starting." if state == STARTING else as_sentence(state)
        yield Problem(harm, part, sentence, _PAGES_OF_PARTS.get(part, ""), f"solo60 restart {part}")


def problems_of_keys(records: Iterable[KeyRecord], now: datetime) -> Iterator[Problem]:
    """Yield callers without a valid key after `EXPIRES_SOON`, and valid keys with scopes that no call needs.

    A caller whose last key has expired is reported for as long afterwards, and then counts as retired.
    """
    latest: dict[str, KeyRecord] = {}
    for record in records:
        if record.is_valid(now) and (needless := needless_scopes(record)):
            yield Problem(
                Harm.RISK,
                record.caller,
                f"Key {record.key_id} has scopes that no call needs: {', '.join(sorted(needless))}. "
                "Issue another key, then revoke this one.",
                _key_page(record),
                f"solo60 keys issue {shlex.quote(record.caller)}",
            )
        if not record.revoked and _lasts_longer(record, latest.get(record.caller)):
            latest[record.caller] = record
    for record in latest.values():
        if record.not_after is not None and abs(record.not_after - now) <= EXPIRES_SOON:
            yield _expiry(record, record.not_after, now)


def problems_of_outboxes(late: Iterable[LateMessages]) -> Iterator[Problem]:
    """Yield the destinations with a message that is late by more than `LATE_S`, the latest first."""
    for each in sorted(late, key=lambda each: -each.late_s):
        if each.late_s > LATE_S:
            sentence = (
                f"A message to {short_name(each.destination)} was due {rough_duration(each.late_s)} ago "
                "and is not delivered. "
                f"{each.due} {'is' if each.due == 1 else 'are'} due."
            )
            page = page_address("outbox", service=each.service, status="pending")
            command = f"solo60 outbox list {each.service} --status pending"
            yield Problem(Harm.STUCK, each.service, sentence, page, command)


def problems_of_logs(undeclared: Iterable[UndeclaredCall]) -> Iterator[Problem]:
    """Yield the calls that the contract of their method does not list."""
    for each in undeclared:
        method, callee = short_name(each.method), short_name(each.callee)
        sentence = f"{method} calls {callee}, which its contract does not list. Add the call to its policy."
        yield Problem(Harm.RISK, each.service, sentence, "/map", f"solo60 explain {shlex.quote(method)}")


def problems_of_clock(offset: timedelta) -> Iterator[Problem]:
    """Yield that the clock of the mesh is ahead, if it is."""
    if offset:
        sentence = f"The clock of the mesh is {rough_duration(offset.total_seconds())} ahead of the system's clock."
        yield Problem(Harm.NOTE, "clock", sentence, command="solo60 clock show")


def unreadable(source: str, reason: str) -> Problem:
    """Return the problem that a source of problems cannot be read."""
    return Problem(Harm.UNKNOWN, source, f"The {source} cannot be read: {as_sentence(reason)}", command="solo60 doctor")


_PAGES_OF_PARTS: Mapping[str, str] = {
    MAIL_SINK: page_address("mail"),
    CONSOLE: page_address("logs", service=CONSOLE),
    POSTGRES: page_address("logs"),
}


def _trouble(trouble: str, names: list[str]) -> Problem:
    found = _REMEDY.search(trouble)
    is_of_mail = found is not None and found["command"].startswith("solo60 messages")
    page = "/mail" if is_of_mail else _log_page(names)
    command = found["command"] if found else f"solo60 logs {names[0]}"
    return Problem(Harm.STUCK, ", ".join(names), as_sentence(_REMEDY.sub("", trouble)), page, command)


def _open_breakers(name: str, breakers: Mapping[str, str]) -> Iterator[Problem]:
    """Yield one problem per callee and state of its breakers."""
    methods: dict[tuple[str, str], list[str]] = {}
    for method, state in breakers.items():
        callee, _, short = short_name(method).partition(".")
        methods.setdefault((callee, state), []).append(short)
    for (callee, state), names in methods.items():
        effect = "Calls fail at once" if state == "open" else "Single calls test whether it works again"
        sentence = f"The breaker to {callee} is {state} for {', '.join(names)}. {effect}."
        yield Problem(Harm.STUCK, name, sentence, "/map", f"solo60 logs {callee}")


def _lasts_longer(record: KeyRecord, other: KeyRecord | None) -> bool:
    if other is None or record.not_after is None:
        return True
    return other.not_after is not None and record.not_after > other.not_after


def _expiry(record: KeyRecord, not_after: datetime, now: datetime) -> Problem:
    time, caller, page = f"{not_after:%Y-%m-%d %H:%M} UTC", shlex.quote(record.caller), _key_page(record)
    if now < not_after:
        sentence = (
            f"Its last key {record.key_id} expires in {rough_duration((not_after - now).total_seconds())}, at {time}."
        )
        return Problem(Harm.RISK, record.caller, sentence, page, f"solo60 keys rotate {caller}")
    sentence = f"Its last key {record.key_id} expired at {time}, so its calls are rejected."
    return Problem(Harm.STUCK, record.caller, sentence, page, f"solo60 keys issue {caller}")


def _key_page(record: KeyRecord) -> str:
    return page_address("keys", caller=record.caller)


def _log_page(names: list[str]) -> str:
    return page_address("logs", service=names[0] if len(names) == 1 else "")
