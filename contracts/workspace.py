"""Contracts of a buf workspace: the files in the modules of its `buf.yaml`, compiled by buf."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from contracts.image import SHARED_NUMBER, Image
from contracts.settings import read_settings

BUF = "buf"


class WorkspaceError(Exception):
    """Unreadable contracts of a workspace; the message gives the reason."""


def read_image(workspace: Path) -> Image:
    """Return the image of the modules of `buf.yaml`, to examine every package without the exempt ones.

    The sources of the image have paths below `workspace`. Raises WorkspaceError if buf cannot compile the modules or if
    an exempt package is in no module, and SettingsError for malformed settings.
    """
    exempt = read_settings(workspace).exempt_packages
    files, sources = build(workspace), sources_of(workspace)
    # The image also contains imports from outside of the modules, such as google/protobuf/timestamp.proto.
    packages = {file.name: file.package for file in files.file if file.name in sources}
    for package in exempt - set(packages.values()):
        raise WorkspaceError(
            f'pyproject.toml: exempt-packages: no module of buf.yaml has the package "{package}". Remove it.'
        )
    return Image(files, {name for name, package in packages.items() if package not in exempt}, sources)


def build(workspace: Path) -> FileDescriptorSet:
    """Return all files of a workspace and their imports; raise WorkspaceError if buf cannot compile them."""
    try:
        return FileDescriptorSet.FromString(_run_buf(workspace, "build", "--as-file-descriptor-set", "--output", "-"))
    except DecodeError:
        raise WorkspaceError(f"The contracts cannot be read: {SHARED_NUMBER}") from None


def sources_of(workspace: Path) -> dict[str, Path]:
    """Return the path of each file in the modules of a workspace, by the name that other files import."""
    listed = map(json.loads, _run_buf(workspace, "ls-files", "--format", "json").splitlines())
    return {each["import_path"]: workspace / each["path"] for each in listed}


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
