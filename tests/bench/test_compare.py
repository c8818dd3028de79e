from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.compare import ratios_of, row_of, samples_of_clients
from bench.other_commit import OtherCommit
from bench.rows import our_exporting_row
from bench.targets import CPU, RPS
from bench.workspace import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping


def test_the_other_commit_serves_the_same_row_with_its_own_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other commit's server runs its own program in its own folder. It counts calls under a name of its own."""
    monkeypatch.chdir(tmp_path)
    prepare()
    row = our_exporting_row("native")
    other = OtherCommit("0123456789abcdef", Path("/base"), Path("/base/python"))

    based = row_of(other, row)

    assert row.command == (sys.executable, "-m", "bench.servers.ours", "native_100_otlp", "native", "100", "PORT")
    assert based.command[:5] == ("/base/python", "-m", "bench.servers.ours", "base_native_100_otlp", "native")
    assert (based.name, based.folder, based.headers) == ("base_native_100_otlp", Path("/base"), row.headers)
    assert based.exports_spans


def test_the_clients_of_both_commits_are_compared_round_by_round() -> None:
    """The ratio of two clients is taken within each round. Clients that only this commit has are not compared."""

    def figures(stub: float, chain: float, chain_cpu_us: float) -> Mapping[str, float]:
        return {"stub_rps": stub, "stub_cpu_us": 50.0, "chain_rps": chain, "chain_cpu_us": chain_cpu_us}

    samples = samples_of_clients(
        [
            ({**figures(1000, 800, 60), "pyqwest_rps": 1.0}, figures(1000, 500, 90)),
            (figures(100, 90, 60), figures(100, 50, 120)),
        ]
    )

    ratios = ratios_of("chain", samples)

    assert ratios[RPS].median == pytest.approx((800 / 500 + 90 / 50) / 2)
    assert ratios[CPU].median == pytest.approx((60 / 90 + 60 / 120) / 2)
    assert samples[RPS].keys() == {"stub", "chain", "base_stub", "base_chain"}
