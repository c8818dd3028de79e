"""Contracts of a buf workspace: the files in the modules of its `buf.yaml`, compiled by buf.

`pyproject.toml` beside `buf.yaml` may exempt packages, such as copies of other projects' contracts:

    [tool.contract-linter]
    exempt-packages = ["google.rpc"]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

BUF = "buf"


class WorkspaceError(Exception):
    """Unreadable contracts of a workspace; the message gives the reason."""


def read_contracts(workspace: Path) -> list[FileDescriptor]:
    """Return the files of every package in the modules of `buf.yaml`, without the exempt packages.

    Raises WorkspaceError if buf cannot compile the modules, if the settings are malformed, or if an exempt package is
    in no module.
    """
    image = FileDescriptorSet.FromString(
        run_buf(workspace, "build", "--as-file-descriptor-set", "--exclude-source-info", "--output", "-")
    )
    # A separate pool, so that contracts with outdated or missing generated code can be read too.
    pool = DescriptorPool()
    for file in image.file:
        pool.Add(file)
    # The image also contains imports from outside of the modules, such as google/protobuf/timestamp.proto.
    names = run_buf(workspace, "ls-files", "--format", "import").decode().splitlines()
    files = [pool.FindFileByName(name) for name in names]
    exempt = _exempt_packages(workspace)
    for package in exempt - {file.package for file in files}:
        raise WorkspaceError(f'pyproject.toml: exempt-packages: no module of buf.yaml has the package "{package}".')
    return [file for file in files if file.package not in exempt]


def _exempt_packages(workspace: Path) -> set[str]:
    path = workspace / "pyproject.toml"
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise WorkspaceError(f"pyproject.toml: {error}.") from None
    match settings.get("tool", {}).get("contract-linter", {"exempt-packages": []}):
        case {"exempt-packages": [*names], **others} if not others and all(isinstance(name, str) for name in names):
            return set(names)
    raise WorkspaceError("pyproject.toml: [tool.contract-linter] allows only exempt-packages, a list of package names.")


def run_buf(workspace: Path, *arguments: str) -> bytes:
    """Return the output of a buf command in a workspace; raise WorkspaceError if the command fails."""
    # Without an activated environment, buf is not on PATH, but beside Python.
    buf = shutil.which(BUF) or str(Path(sys.executable).with_name(BUF))
    try:
        done = subprocess.run([buf, *arguments], cwd=workspace, capture_output=True, check=True)  # noqa: S603 - fixed arguments
    except FileNotFoundError:
        raise WorkspaceError("buf is not installed: run `pip install buf-bin`.") from None
    except subprocess.CalledProcessError as error:
        raise WorkspaceError(error.stderr.decode().strip()) from None
    return done.stdout
