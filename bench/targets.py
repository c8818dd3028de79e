"""Targets for ratios of two rows of one run, and for the memory and the start of services."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bench.spread import Spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    # Values of each row, one for each round. Rows of one run have their rounds in common.
    Rounds: TypeAlias = Mapping[str, Sequence[float]]
    # Rounds of each figure.
    Samples: TypeAlias = Mapping[str, Rounds]

RPS = "calls/s"
CPU = "CPU/call"
PSS = "MiB of PSS"
START = "seconds"
# A program that uses less of its core waits for other programs, so its calls per second do not show its cost.
MIN_CORE_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Target:
    """Bar for a figure of row `row`, divided by that of row `base` in the same round if there is a base.

    The value must be at least `minimum` or at most `maximum`. Without both, the target is only reported.
    """

    name: str
    description: str
    figure: str
    row: str
    base: str | None = None
    minimum: float | None = None
    maximum: float | None = None

    def spread(self, samples: Samples) -> Spread:
        """Return the spread over the rounds of a run; raise KeyError if a row was not measured."""
        rounds = samples[self.figure]
        if self.base is None:
            return Spread.of(rounds[self.row])
        return Spread.of_ratios(rounds[self.row], rounds[self.base])

    def is_reached(self, spread: Spread) -> bool:
        """Return whether the worse quartile meets the bar."""
        if self.minimum is not None:
            return spread.lower_quartile >= self.minimum
        return self.maximum is None or spread.upper_quartile <= self.maximum

    @property
    def rows(self) -> set[str]:
        """Rows that the target needs."""
        return {self.row} if self.base is None else {self.row, self.base}


TARGETS = (
    Target("grpcio_full_100_vs_bare", "grpcio, 100 % traced, to bare grpc.aio", RPS, "grpcio_100", "bare_aio", 0.75),
    Target("grpcio_full_10_vs_bare", "grpcio, 10 % traced, to bare grpc.aio", RPS, "grpcio_10", "bare_aio", 0.85),
    Target("grpcio_full_100_vs_naive", "grpcio, 100 % traced, to the naive stack", RPS, "grpcio_100", "naive", 1.4),
    Target("native_full_100_vs_bare", "native, 100 % traced, to bare grpc.aio", RPS, "native_100", "bare_aio", 2.2),
    Target("native_full_10_vs_bare", "native, 10 % traced, to bare grpc.aio", RPS, "native_10", "bare_aio", 4.0),
    Target(
        "native_full_10_vs_fastapi", "native, 10 % traced, to plain FastAPI", RPS, "native_10", "fastapi_plain", 4.0
    ),
    Target(
        "grpcio_otlp_vs_grpcio_untraced",
        "grpcio, 100 % traced and sent by OTLP, to grpcio untraced",
        RPS,
        "grpcio_100_otlp",
        "grpcio_0",
        minimum=0.9,
    ),
    Target(
        "native_otlp_vs_native_untraced",
        "native, 100 % traced and sent by OTLP, to native untraced",
        RPS,
        "native_100_otlp",
        "native_0",
        minimum=0.85,
    ),
    Target(
        "grpcio_full_0_vs_loop_bare_cpu",
        "grpcio untraced, to bare grpc.aio run like a service",
        CPU,
        "grpcio_0",
        "bare_aio_service_loop",
        maximum=1.6,
    ),
    Target(
        "native_full_0_vs_bare_cpu", "native untraced, to the bare engine", CPU, "native_0", "bare_native", maximum=3.0
    ),
    Target("client_chain_vs_stub", "client chain, 10 % traced, to the plain stub", RPS, "chain", "stub", 0.75),
    Target(
        "client_chain_vs_stub_cpu",
        "processor time of the client chain, to that of the plain stub",
        CPU,
        "chain",
        "stub",
    ),
    Target(
        "client_connectrpc_vs_stub", "connectrpc's client without a chain, to the plain stub", RPS, "connectrpc", "stub"
    ),
    Target("client_pyqwest_vs_stub", "requests of pyqwest, to the plain stub", RPS, "pyqwest", "stub"),
    Target("pss_mib_per_service", "idle service of a mesh of seven", PSS, "services", maximum=45.0),
    Target("healthy_new_database_s", "`solo60 up` on a new database until healthy", START, "new_database", maximum=2.5),
)


def spreads_of(samples: Samples, targets: Iterable[Target] = TARGETS) -> dict[str, Spread]:
    """Return the spread of each target in this run; exit with an error message if a required row is missing."""
    targets = list(targets)
    missing = {row for target in targets for row in target.rows - samples.get(target.figure, {}).keys()}
    if missing:
        sys.exit(f"Rows required by a target were not measured: {', '.join(sorted(missing))}")
    return {target.name: target.spread(samples) for target in targets}


def verdict(target: Target, spread: Spread) -> str:
    """Return in words whether the target was reached; "" if it has no bar."""
    if target.minimum is None and target.maximum is None:
        return ""
    return "reached" if target.is_reached(spread) else "not reached"


def least_core_share(target: Target, core_shares: Mapping[str, float]) -> float | None:
    """Return the smaller share of a core that one of the two rows used, or None for other figures than calls/s."""
    return min(core_shares[row] for row in target.rows) if target.figure == RPS else None


def facts_of(target: Target, spread: Spread, core_shares: Mapping[str, float]) -> dict[str, float | bool]:
    """Return the entry of a target in the file of figures."""
    facts: dict[str, float | bool] = {
        "median": spread.median,
        "lower_quartile": spread.lower_quartile,
        "upper_quartile": spread.upper_quartile,
    }
    for name, bar in (("minimum", target.minimum), ("maximum", target.maximum)):
        if bar is not None:
            facts |= {name: bar, "reached": target.is_reached(spread)}
    share = least_core_share(target, core_shares)
    return facts if share is None else {**facts, "least_core_share": share}
