"""Health of each service and its callees, with reason and remedy for a service that is not SERVING."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from contracts.method import methods_of
from contracts.services import SERVICE_NAMES, SERVICES
from local.keys import OPERATOR
from mesh.serving.health_probe import SERVING, UNREACHABLE, probe_of, problems_of
from operations.health.diagnosis import Finding, MeshState, diagnose, group_findings, state_of_local_mesh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.config import Settings

Report = dict[str, dict[str, object]]


async def health_of_all(settings: Settings) -> Report:
    """Return an entry for each service with its "status" and "address", and with further keys that apply.

    "implemented" is False for a contract-only service. "breakers" maps full method names to the states of circuit
    breakers that are "open" or "half-open". "dead_letters" lists the destination methods of dead letters in the
    service's outbox. "troubles" lists faults as sentences. If the service is not SERVING, "reason" is the cause and
    "next" is the command to run.
    """
    report, _ = await health_of_mesh(settings)
    return report


async def health_of_mesh(settings: Settings) -> tuple[Report, MeshState]:
    """Return the report of `health_of_all` and the state of the mesh in DATA_DIR."""
    async with asyncio.TaskGroup() as group:
        entries = {name: group.create_task(_entry_of(settings, name)) for name in SERVICE_NAMES}
        mesh_state = group.create_task(state_of_local_mesh(settings))
    report: Report = {name: task.result() for name, task in entries.items()}
    mesh = mesh_state.result()
    for name, entry in report.items():
        if entry["status"] != SERVING:
            troubles = cast("list[str]", entry.get("troubles", []))
            finding = diagnose(name, str(entry["status"]), troubles, mesh, settings)
            entry |= {"reason": finding.reason, "next": finding.next_command}
        if mesh.runs and mesh.disk:
            entry["troubles"] = [*cast("list[str]", entry.get("troubles", [])), f"DATA_DIR: {mesh.disk}"]
    return report, mesh


def is_contract_only(name: str) -> bool:
    """Return whether a service implements none of its methods."""
    return all(method.policy.contract_only for method in methods_of(SERVICES[name]))


def problem_lines(report: Report) -> list[str]:
    """Return a line per trouble of a SERVING service, per breaker that is not closed, and per dead-letter method."""
    breakers = [
        f"{name}: breaker {state}: {method}"
        for name, entry in report.items()
        for method, state in cast("dict[str, str]", entry.get("breakers", {})).items()
    ]
    troubles = [
        f"{name}: {trouble}"
        for name, entry in report.items()
        for trouble in cast("list[str]", entry.get("troubles", []))
        if entry["status"] == SERVING and not trouble.startswith("DATA_DIR: ")
    ]
    dead_letters = [
        f"{name}: dead letters: {method} (solo60 outbox list {name} --dead)"
        for name, entry in report.items()
        for method in cast("list[str]", entry.get("dead_letters", []))
    ]
    return troubles + breakers + dead_letters


def finding_lines(report: Report) -> list[str]:
    """Return one line per reason why services are not SERVING."""
    return group_findings(
        {name: Finding(str(entry["reason"]), str(entry["next"])) for name, entry in report.items() if "reason" in entry}
    )


def mesh_lines(mesh: MeshState, reported: Sequence[str]) -> list[str]:
    """Return the faults of the mesh's PostgreSQL and disk, except those that lines in `reported` already contain."""
    disk = f"DATA_DIR: {mesh.disk}" if mesh.runs and mesh.disk else ""
    return [line for line in (mesh.postgres, disk) if line and not any(line in each for each in reported)]


async def _entry_of(settings: Settings, name: str) -> dict[str, object]:
    key_file = settings.key_path_of(OPERATOR)
    key = key_file.read_text(encoding="utf-8").strip() if key_file.exists() else ""
    url, through_proxy = settings.url_of(name), settings.calls_through_proxy
    async with probe_of(url, SERVICES[name].full_name, key=key, through_proxy=through_proxy) as probe:
        status = await probe()
    entry: dict[str, object] = {"status": status, "address": settings.listen_address_of(name)}
    if is_contract_only(name):
        entry["implemented"] = False
    if status != UNREACHABLE:
        problems = await problems_of(url, key=key, through_proxy=through_proxy)
        found = {
            "breakers": dict(problems.breakers),
            "dead_letters": list(problems.dead_letters),
            "troubles": list(problems.troubles),
        }
        entry |= {kind: each for kind, each in found.items() if each}
    return entry
