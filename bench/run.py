"""Figures of one benchmark run, and their file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench.spread import Spread
from bench.startup import pss_of_services
from bench.targets import CPU, PSS, RPS, START, TARGETS, facts_of, spreads_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.measure import Table
    from bench.targets import Samples

BASE = "bare_aio"
MICROSECONDS = 1e6
CLIENTS = {
    "stub": "plain stub on grpc.aio",
    "chain": "whole client chain, 10 % traced",
    "connectrpc": "connectrpc's client, no chain",
    "pyqwest": "requests of pyqwest, no chain",
}


@dataclass(frozen=True, slots=True)
class Run:
    """All figures of one run.

    `policies` has microseconds per interceptor, by percentage of traced calls, and `steps` those inside of each timed
    server. `client` has the rounds of bench.client, `shares` the shares of processor time of each profiled server, and
    `startup` the figures of bench.startup.
    """

    machine: Mapping[str, str]
    table: Table
    policies: Mapping[int, Mapping[str, float]]
    client: Sequence[Mapping[str, float]]
    shares: Mapping[str, Mapping[str, float]]
    steps: Mapping[str, Mapping[str, float]]
    startup: Mapping[str, Mapping[str, Sequence[float]]]

    @property
    def samples(self) -> Samples:
        """Samples of all figures, one for each round."""
        return {
            RPS: {**self.table.samples[RPS], **{name: self.client_rounds(name, "rps") for name in CLIENTS}},
            CPU: {**self.table.samples[CPU], **{name: self.client_rounds(name, "cpu_us") for name in CLIENTS}},
            PSS: {"services": pss_of_services(self.startup)},
            START: self.startup["healthy_s"],
        }

    @property
    def core_shares(self) -> dict[str, float]:
        """Share of its core that each row and each client used: the median of the rounds."""
        cpu_us = self.samples[CPU]
        return {
            name: median(rps * each_us / MICROSECONDS for rps, each_us in zip(rounds, cpu_us[name], strict=True))
            for name, rounds in self.samples[RPS].items()
        }

    def client_rounds(self, name: str, figure: str) -> list[float]:
        """Return a figure of one client in each round."""
        return [each[f"{name}_{figure}"] for each in self.client]


def write_json(run: Run, path: Path) -> None:
    """Write the figures to `path` as JSON."""
    spreads = spreads_of(run.samples)
    base = run.samples[RPS][BASE]
    figures = {
        "rows": [
            {**asdict(row), "ratio_to_bare": asdict(Spread.of_ratios(run.samples[RPS][row.name], base))}
            for row in run.table.rows
        ],
        "ratios": {target.name: facts_of(target, spreads[target.name], run.core_shares) for target in TARGETS},
        "rounds": len(base),
        "policies_us": run.policies,
        "client": {name: median(each[name] for each in run.client) for name in run.client[0]},
        "startup": run.startup,
        "core_shares": run.core_shares,
        "cpu_shares": run.shares,
        "steps_us": run.steps,
        "omitted": run.table.omitted,
        "machine": run.machine,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
