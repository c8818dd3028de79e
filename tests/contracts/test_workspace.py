from __future__ import annotations

from pathlib import Path

import pytest

from contracts.checks.run import check
from contracts.settings import SettingsError
from contracts.workspace import WorkspaceError, read_image

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
    (workspace / "pyproject.toml").write_text(f"[tool.contracts]\nexempt-packages = {packages}\n")


def places(workspace: Path) -> list[tuple[str, int]]:
    """Return the file, below the workspace, and the line of each finding."""
    found = check(read_image(workspace))
    assert {finding.id for finding in found} <= {"POLICY_MISSING"}
    return [(Path(finding.file).relative_to(workspace).as_posix(), finding.line) for finding in found]


def test_each_package_of_each_module_is_checked(workspace: Path) -> None:
    """By default, each package of each module of buf.yaml is checked. Findings have the paths of the sources."""
    assert places(workspace) == [("one/one.proto", 4), ("two/two.proto", 4)]


def test_an_exempt_package_needs_no_policies(workspace: Path) -> None:
    """The packages that pyproject.toml exempts are not checked."""
    exempt(workspace, '["other.v1"]')
    assert places(workspace) == [("one/one.proto", 4)]

    exempt(workspace, '["acme.v1", "other.v1"]')
    assert places(workspace) == []


def test_an_exempt_package_must_exist(workspace: Path) -> None:
    """A misspelt exempt package is an error that names it."""
    exempt(workspace, '["acme.v2"]')

    with pytest.raises(WorkspaceError, match=r'exempt-packages: no module of buf.yaml has the package "acme.v2"'):
        read_image(workspace)


@pytest.mark.parametrize(
    "settings",
    [
        "[tool",
        "[tool.contracts]\nexempt-packages = 5",
        '[tool.contracts]\nexempt-packages = "acme.v1"',
        '[tool.contracts]\nexempt_packages = ["acme.v1"]',
    ],
)
def test_malformed_settings_are_reported(workspace: Path, settings: str) -> None:
    """A malformed file, another type and a misspelt name are errors that name pyproject.toml."""
    (workspace / "pyproject.toml").write_text(settings)

    with pytest.raises(SettingsError, match=r"^pyproject\.toml: "):
        read_image(workspace)


def test_a_contract_that_does_not_compile_is_reported(workspace: Path) -> None:
    """If a contract does not compile, the error is buf's message."""
    (workspace / "one/broken.proto").write_text("message")

    with pytest.raises(WorkspaceError, match=r"broken\.proto"):
        read_image(workspace)


def test_an_option_with_one_of_our_numbers_is_reported(workspace: Path) -> None:
    """Contracts whose own option has a number of policy.proto are one sentence, because they cannot be parsed."""
    (workspace / "one" / "other.proto").write_text(
        'syntax = "proto3";\npackage another.v1;\nimport "google/protobuf/descriptor.proto";\n'
        "extend google.protobuf.MethodOptions {\n  string note = 60060;\n}\nmessage Request {}\n"
        'service Other {\n  rpc Do(Request) returns (Request) {\n    option (note) = "hello";\n  }\n}\n'
    )

    with pytest.raises(WorkspaceError, match=r"cannot be read: an option .* has a number of .*, 60060 to 60065"):
        read_image(workspace)
