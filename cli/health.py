"""`solo60 health`: what every service says of itself, and which of them are contracts only so far."""

from __future__ import annotations

import asyncio

import typer
from rich.table import Table

from cli.screen import JsonFlag, out, print_json, remarks
from contracts.method import methods_of
from contracts.services import SERVICES
from mesh.config import SERVICE_NAMES, Settings, load_settings
from mesh.health_probe import SERVING, UNREACHABLE, probe_of
from mesh.local_keys import OPERATOR

Report = dict[str, dict[str, object]]
CONTRACT_ONLY_NOTE = "contract only, not implemented"


def health(*, as_json: JsonFlag = False) -> None:
    """Ask every service for its health; exit with 0 only when all are SERVING."""
    report = asyncio.run(health_of_all(load_settings()))
    if as_json:
        print_json(report)
    else:
        out.print(health_table(report))
        if all(entry["status"] == UNREACHABLE for entry in report.values()):
            remarks.print("Nobody answers: `make run` starts the mesh.")
    if any(entry["status"] != SERVING for entry in report.values()):
        raise typer.Exit(1)


async def health_of_all(settings: Settings) -> Report:
    """Return status and address of each service, and where it is so, that it is not implemented."""
    statuses = await asyncio.gather(*(_status_of(settings, name) for name in SERVICE_NAMES))
    report: Report = {}
    for name, status in zip(SERVICE_NAMES, statuses, strict=True):
        report[name] = {"status": status, "address": settings.listen_address_of(name)}
        if is_contract_only(name):
            report[name]["implemented"] = False
    return report


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


async def _status_of(settings: Settings, name: str) -> str:
    key_file = settings.key_path_of(OPERATOR)
    key = key_file.read_text(encoding="utf-8").strip() if key_file.exists() else ""
    async with probe_of(settings.url_of(name), SERVICES[name].full_name, key=key) as probe:
        return await probe()
