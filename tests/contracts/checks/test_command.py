from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import cli.contracts
from contracts.image import Image, ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[3]
WITHOUT_POLICY = """syntax = "proto3";
package acme.v1;
message Request {}
service Service {
  rpc Do(Request) returns (Request);
}
"""
MESSAGE = (
    "acme.v1.Service: no method has a policy; add option (solo60.mesh.v1.policy) with a deadline and scopes to each."
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a workspace with a method without a policy, and make it the current folder."""
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules:\n  - path: proto\n")
    (tmp_path / "proto").mkdir()
    (tmp_path / "proto" / "acme.proto").write_text(WITHOUT_POLICY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m contracts` in the current folder."""
    command = [sys.executable, "-m", "contracts", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=False)


@pytest.mark.usefixtures("workspace")
def test_the_workspace_of_the_folder_is_checked() -> None:
    """Without an image, the command checks the workspace, prints paths below the folder, and exits with 1."""
    done = python("check")

    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.decode() == f"proto/acme.proto:4: POLICY_MISSING: {MESSAGE}\n"


@pytest.mark.usefixtures("workspace")
def test_an_image_is_checked() -> None:
    """An image of buf is read from a file or from standard input. Its files have the names of the image."""
    image = subprocess.run(["buf", "build", "-o", "-"], capture_output=True, check=True).stdout
    Path("image.binpb").write_bytes(image)

    for done in (python("check", "-", data=image), python("check", "image.binpb")):
        assert done.returncode == 1
        assert done.stdout.decode() == f"acme.proto:4: POLICY_MISSING: {MESSAGE}\n"


@pytest.mark.usefixtures("workspace")
def test_the_cli_has_the_same_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`solo60 contracts check` prints the same findings, in each format, and exits with the same code."""
    result = CliRunner().invoke(cli.contracts.group, ["check", "--format", "json"])

    assert result.exit_code == 1
    assert [finding["id"] for finding in json.loads(result.output)] == ["POLICY_MISSING"]
    ignoring = CliRunner().invoke(cli.contracts.group, ["check", "--ignore", "POLICY_MISSING"])
    assert (ignoring.exit_code, ignoring.output, capsys.readouterr().err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nothing.binpb"], "nothing.binpb cannot be read: No such file or directory."),
        (
            ["check", "proto/acme.proto"],
            "proto/acme.proto: The image is not a FileDescriptorSet. Write one",
        ),
        (["check", "--ignore", "NOTHING"], "There is no check NOTHING: docs/contract-checks.md lists all ids."),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_a_wrong_argument_is_one_sentence(arguments: Sequence[str], words: str) -> None:
    """An unreadable image and an unknown check exit with 2 and one sentence."""
    done = python(*arguments)

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(words)
    assert done.stderr.count(b"\n") == 1
    result = CliRunner().invoke(cli.contracts.group, list(arguments))
    assert isinstance(result.exception, cli.contracts.UnreadableContracts)
    assert result.exception.exit_code == 2


def test_a_contract_that_does_not_compile_is_reported(workspace: Path) -> None:
    """If a contract does not compile, the command prints buf's message and exits with 2."""
    (workspace / "proto" / "broken.proto").write_text("message")

    done = python("check")

    assert done.returncode == 2
    assert b"broken.proto" in done.stderr


def test_code_is_compared_with_its_contract(workspace: Path) -> None:
    """The code of a service is checked too, with paths below the folder. A file that is not Python is one sentence."""
    (workspace / "pyproject.toml").write_text('[tool.contracts]\nsource-folders = "code/{service}"\n')
    (workspace / "code/acme").mkdir(parents=True)
    code = workspace / "code/acme/code.py"
    code.write_text("from contracts.errors import SlotTaken\nraise SlotTaken\n")

    found = python("check").stdout.decode()
    assert found.startswith("code/acme/code.py:2: ERRORS_UNDECLARED: acme.v1.Service: the code")

    code.write_text("def\n")
    done = python("check")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"code/acme/code.py:1 is not Python 3.")


def test_an_image_without_its_imports_is_one_sentence() -> None:
    """An image that lacks an import is one sentence, which names both files."""
    build = ["buf", "build", "--exclude-imports", "--path", "proto/solo60/gym", "-o", "-"]
    image = subprocess.run(build, cwd=ROOT, capture_output=True, check=True).stdout

    with pytest.raises(ImageError, match=r"^solo60/gym/v1/\w+\.proto imports \S+, but the image lacks it\. Build "):
        Image.parse(image)
