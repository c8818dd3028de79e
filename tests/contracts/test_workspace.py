from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.linter import lint_files, main
from contracts.workspace import WorkspaceError, read_contracts

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_POLICY = """syntax = "proto3";
package {package};
message Request {{}}
service Service {{
  rpc Do(Request) returns (Request);
}}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Write a workspace with two modules. Each has a package with a method without a policy."""
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules:\n  - path: one\n  - path: two\n")
    for module, package in (("one", "acme.v1"), ("two", "other.v1")):
        (tmp_path / module).mkdir()
        (tmp_path / module / f"{module}.proto").write_text(WITHOUT_POLICY.format(package=package))
    return tmp_path


def exempt(workspace: Path, packages: str) -> None:
    """Exempt packages, written as a TOML array."""
    (workspace / "pyproject.toml").write_text(f"[tool.contract-linter]\nexempt-packages = {packages}\n")


def test_each_package_of_each_module_must_declare_policies(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default, the linter fails for a method without a policy in any package of any module of buf.yaml."""
    monkeypatch.chdir(workspace)

    with pytest.raises(SystemExit, match="1"):
        main()

    assert capsys.readouterr().err == "acme.v1.Service/Do: has no policy.\nother.v1.Service/Do: has no policy.\n"


def test_an_exempt_package_needs_no_policies(workspace: Path) -> None:
    """The linter does not check the packages that pyproject.toml exempts."""
    exempt(workspace, '["other.v1"]')
    assert lint_files(read_contracts(workspace)) == ["acme.v1.Service/Do: has no policy."]

    exempt(workspace, '["acme.v1", "other.v1"]')
    assert lint_files(read_contracts(workspace)) == []


def test_an_exempt_package_must_exist(workspace: Path) -> None:
    """A misspelt exempt package is an error that names it."""
    exempt(workspace, '["acme.v2"]')

    with pytest.raises(WorkspaceError, match=r'exempt-packages: no module of buf.yaml has the package "acme.v2"'):
        read_contracts(workspace)


@pytest.mark.parametrize(
    "settings",
    [
        "[tool",
        "[tool.contract-linter]\nexempt-packages = 5",
        '[tool.contract-linter]\nexempt-packages = "acme.v1"',
        '[tool.contract-linter]\nexempt_packages = ["acme.v1"]',
    ],
)
def test_malformed_settings_are_reported(workspace: Path, settings: str) -> None:
    """A malformed file, another type and a misspelt name are errors that name pyproject.toml."""
    (workspace / "pyproject.toml").write_text(settings)

    with pytest.raises(WorkspaceError, match=r"^pyproject\.toml: "):
        read_contracts(workspace)


def test_a_contract_that_does_not_compile_is_reported(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The linter fails with buf's message if a contract does not compile."""
    (workspace / "one/broken.proto").write_text("message")
    monkeypatch.chdir(workspace)

    with pytest.raises(SystemExit, match="1"):
        main()

    assert "broken.proto" in capsys.readouterr().err
