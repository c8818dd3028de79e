"""Contracts of this repository with source info, compiled by buf."""

from __future__ import annotations

import subprocess
from functools import cache

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.support.sources import ROOT


@cache
def compiled_contracts() -> tuple[FileDescriptorProto, ...]:
    """Return all files of the contracts, including imports."""
    image = subprocess.run(
        ["buf", "build", "--as-file-descriptor-set", "--output", "-"], cwd=ROOT, capture_output=True, check=True
    )
    return tuple(FileDescriptorSet.FromString(image.stdout).file)
