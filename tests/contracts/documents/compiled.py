"""Catalogs of contracts: those of this repository, and small ones that a test writes."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from contracts.documents.catalog import Catalog
from contracts.image import Image
from tests.support.node import ROOT

OURS = "proto"
IMPORTS = (ROOT / "proto", ROOT / "third_party/protovalidate", ROOT / "third_party/googleapis")
HEADER = """
syntax = "proto3";
package test.v1;
import "buf/validate/validate.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "solo60/common/v1/text.proto";
import "solo60/mesh/v1/policy.proto";
"""


@cache
def image_of_ours() -> FileDescriptorSet:
    """Return the contracts of this repository, with comments."""
    names = sorted(path.relative_to(ROOT / OURS).as_posix() for path in (ROOT / OURS).rglob("*.proto"))
    return _compile(IMPORTS, names)


@cache
def catalog_of_ours() -> Catalog:
    """Return the catalog of this repository's contracts."""
    image = image_of_ours()
    names = [file.name for file in image.file if file.name.startswith("solo60/")]
    return Catalog(Image(image, names))


@cache
def catalog_of(source: str) -> Catalog:
    """Return the catalog of a contract in the package test.v1, without its header."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "test.proto").write_text(HEADER + source, encoding="utf-8")
        return Catalog(Image(_compile((Path(folder), *IMPORTS), ["test.proto"]), ["test.proto"]))


def _compile(imports: tuple[Path, ...], names: list[str]) -> FileDescriptorSet:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "image.binpb"
        arguments = [*(f"-I{path}" for path in imports), "--include_imports", "--include_source_info"]
        command = [sys.executable, "-m", "grpc_tools.protoc", *arguments, f"--descriptor_set_out={out}", *names]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return FileDescriptorSet.FromString(out.read_bytes())
