"""Targets: required ratios between two rows of one run, and whether the run reached them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.measure import Figures

CLIENT = "client_chain_vs_stub"


@dataclass(frozen=True, slots=True)
class Target:
    """Requirement that the calls per second of row `row` are at least `minimum` times those of row `base`."""

    name: str
    row: str
    base: str
    minimum: float
    description: str


TARGETS = (
    Target("grpcio_full_100_vs_bare", "grpcio_100", "bare_aio", 0.75, "grpcio, 100 % traced, to bare grpc.aio"),
    Target("grpcio_full_10_vs_bare", "grpcio_10", "bare_aio", 0.85, "grpcio, 10 % traced, to bare grpc.aio"),
    Target("grpcio_full_100_vs_naive", "grpcio_100", "naive", 1.4, "grpcio, 100 % traced, to the naive stack"),
    Target("native_full_100_vs_bare", "native_100", "bare_aio", 2.2, "native, 100 % traced, to bare grpc.aio"),
    Target("native_full_10_vs_bare", "native_10", "bare_aio", 4.0, "native, 10 % traced, to bare grpc.aio"),
    Target("native_full_10_vs_fastapi", "native_10", "fastapi_plain", 4.0, "native, 10 % traced, to plain FastAPI"),
    Target(CLIENT, "chain", "stub", 0.75, "client chain, 10 % traced, to the plain stub"),
)


def ratios_of(rows: Sequence[Figures], client: Mapping[str, float]) -> dict[str, float]:
    """Return each target's ratio in this run; exit with an error message if a required row is missing."""
    rps = {row.name: row.rps for row in rows} | {name: client[f"{name}_rps"] for name in ("chain", "stub")}
    missing = {row for target in TARGETS for row in (target.row, target.base)} - rps.keys()
    if missing:
        sys.exit(f"Rows required by a target were not measured: {', '.join(sorted(missing))}")
    return {target.name: rps[target.row] / rps[target.base] for target in TARGETS}


def verdict(target: Target, ratio: float) -> str:
    """Return whether the target was reached, in words."""
    return "reached" if ratio >= target.minimum else f"not reached: {ratio:.2f}"
