from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from cli.main import main
from contracts.services import SERVICE_NAMES
from tests.support.core_lines import without_core_lines
from tests.support.local_mesh import local_mesh
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["local_mesh"]


@dataclass(frozen=True, slots=True)
class Result:
    """Exit code and output of a command."""

    exit_code: int | str | None
    out: str
    err: str


class Solo60(Protocol):
    """Runner of commands in this process, with an empty data folder and no running service."""

    def __call__(self, *arguments: str) -> Result:
        """Run `solo60` with these arguments."""


@pytest.fixture
def solo60(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Solo60:
    """Return a runner with tmp_path as DATA_DIR and without a listener at any service address."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    for name, port in zip(SERVICE_NAMES, free_ports(len(SERVICE_NAMES)), strict=True):
        monkeypatch.setenv(f"{name.upper()}_SERVICE_URL", f"127.0.0.1:{port}")

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["solo60", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        written = capfd.readouterr()
        return Result(exit_.value.code, written.out, without_core_lines(written.err))

    return run


@pytest.fixture
def operator_key(tmp_path: Path) -> None:
    """Write the operator's key file in DATA_DIR."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "operator").write_text("sk_dev_of-nobody")
