"""`solo60 health`: what every service says of itself and of those it calls, and which are contracts only so far."""

from __future__ import annotations

import asyncio
from typing import cast

import typer
from rich.table import Table

from cli.screen import JsonFlag, out, print_json, remarks
from contracts.method import methods_of
from contracts.services import SERVICES
from mesh.config import SERVICE_NAMES, Settings, load_settings
from mesh.health_probe import SERVING, UNREACHABLE, probe_of, troubles_of
from mesh.local_keys import OPERATOR

Report = dict[str, dict[str, object]]
# What the alarms of the services mean, and what to do.
ALARMS = {
    "mail-server": "the mail server cannot be reached or turns us away (solo60 messages list says why)",
    "dead-mail": "mail was given up (solo60 messages list)",
}
CONTRACT_ONLY_NOTE = "contract only, not implemented"


def health(*, as_json: JsonFlag = False) -> None:
    """Ask every service for its health; exit with 0 only when all are SERVING."""
    report = asyncio.run(health_of_all(load_settings()))
    if as_json:
        print_json(report)
    else:
        out.print(health_table(report))
        for line in trouble_lines(report):
            out.print(line, style="yellow", markup=False)
        if all(entry["status"] == UNREACHABLE for entry in report.values()):
            remarks.print("Nobody answers: `make run` starts the mesh.")
    if any(entry["status"] != SERVING for entry in report.values()):
        raise typer.Exit(1)


async def health_of_all(settings: Settings) -> Report:
    """Return status and address of each service, and where it is so, that it is not implemented, and what troubles it.

    "breakers" are the circuit breakers of its calls that are not closed, "open" or "half-open" by the method's full
    name; "dead_letters" are the methods for which messages of its outbox were given up; "alarms" are names of what an
    operator has to put right.
    """
    entries = await asyncio.gather(*(_entry_of(settings, name) for name in SERVICE_NAMES))
    return dict(zip(SERVICE_NAMES, entries, strict=True))


def is_contract_only(name: str) -> bool:
    """Whether no method of a service is answered yet."""
    return all(method.policy.contract_only for method in methods_of(SERVICES[name]))


def health_table(report: Report) -> Table:
    """Return the report as a table."""
    table = Table("service", "status", "address", "", box=None, pad_edge=False)
    for name, entry in report.items():
        style = "green" if entry["status"] == SERVING else "red"
        note = "" if entry.get("implemented", True) else CONTRACT_ONLY_NOTE
        table.add_row(name, f"[{style}]{entry['status']}[/]", str(entry["address"]), f"[dim]{note}[/]")
    return table


def trouble_lines(report: Report) -> list[str]:
    """Return a line for each circuit breaker that is not closed, each method with dead letters, and each alarm."""
    breakers = [
        f"{name}: breaker {state}: {method}"
        for name, entry in report.items()
        for method, state in cast("dict[str, str]", entry.get("breakers", {})).items()
    ]
    dead_letters = [
        f"{name}: dead letters: {method} (solo60 outbox list {name} --dead)"
        for name, entry in report.items()
        for method in cast("list[str]", entry.get("dead_letters", []))
    ]
    alarms = [
        f"{name}: alarm: {ALARMS.get(alarm, alarm)}"
        for name, entry in report.items()
        for alarm in cast("list[str]", entry.get("alarms", []))
    ]
    return breakers + dead_letters + alarms


async def _entry_of(settings: Settings, name: str) -> dict[str, object]:
    key_file = settings.key_path_of(OPERATOR)
    key = key_file.read_text(encoding="utf-8").strip() if key_file.exists() else ""
    async with probe_of(settings.url_of(name), SERVICES[name].full_name, key=key) as probe:
        status = await probe()
    entry: dict[str, object] = {"status": status, "address": settings.listen_address_of(name)}
    if is_contract_only(name):
        entry["implemented"] = False
    if status != UNREACHABLE:
        troubles = await troubles_of(settings.url_of(name), key=key)
        found = {
            "breakers": dict(troubles.breakers),
            "dead_letters": list(troubles.dead_letters),
            "alarms": list(troubles.alarms),
        }
        entry |= {trouble: methods for trouble, methods in found.items() if methods}
    return entry
