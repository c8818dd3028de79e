"""Contracts of a buf workspace: the files in the modules of its `buf.yaml`, compiled by buf.

`pyproject.toml` beside `buf.yaml` may exempt packages, such as copies of other projects' contracts:

    [tool.contracts]
    exempt-packages = ["google.rpc"]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from contracts.image import Image

BUF = "buf"


class WorkspaceError(Exception):
    """Unreadable contracts of a workspace; the message gives the reason."""


def read_image(workspace: Path) -> Image:
    """Return the image of the modules of `buf.yaml`, to examine every package without the exempt ones.

    The sources of the image have paths below `workspace`. Raises WorkspaceError if buf cannot compile the modules, if
    the settings are malformed, or if an exempt package is in no module.
    """
    files = FileDescriptorSet.FromString(_run_buf(workspace, "build", "--as-file-descriptor-set", "--output", "-"))
    # The image also contains imports from outside of the modules, such as google/protobuf/timestamp.proto.
    listed = map(json.loads, _run_buf(workspace, "ls-files", "--format", "json").splitlines())
    sources = {each["import_path"]: workspace / each["path"] for each in listed}
    packages = {file.name: file.package for file in files.file if file.name in sources}
    exempt = _exempt_packages(workspace)
    for package in exempt - set(packages.values()):
        raise WorkspaceError(f'pyproject.toml: exempt-packages: no module of buf.yaml has the package "{package}".')
    return Image(files, {name for name, package in packages.items() if package not in exempt}, sources)


def _exempt_packages(workspace: Path) -> set[str]:
    path = workspace / "pyproject.toml"
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise WorkspaceError(f"pyproject.toml: {error}.") from None
    match settings.get("tool", {}).get("contracts", {"exempt-packages": []}):
        case {"exempt-packages": [*names], **others} if not others and all(isinstance(name, str) for name in names):
            return set(names)
    raise WorkspaceError("pyproject.toml: [tool.contracts] allows only exempt-packages, a list of package names.")


def _run_buf(workspace: Path, *arguments: str) -> bytes:
    # Without an activated environment, buf is not on PATH, but beside Python.
    buf = shutil.which(BUF) or str(Path(sys.executable).with_name(BUF))
    try:
        done = subprocess.run([buf, *arguments], cwd=workspace, capture_output=True, check=True)  # noqa: S603 - fixed arguments
    except FileNotFoundError:
        raise WorkspaceError("buf is not installed: run `pip install buf-bin`.") from None
    except subprocess.CalledProcessError as error:
        raise WorkspaceError(error.stderr.decode().strip()) from None
    return done.stdout
