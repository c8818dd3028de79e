"""Contracts of a small shop, compiled with edits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from contracts.image import Image

ROOT = Path(__file__).parents[3]
SOURCE = Path(__file__).with_name("shop.proto").read_text(encoding="utf-8")
INCLUDED = (
    ROOT / "proto",
    ROOT / "third_party/protovalidate",
    ROOT / "third_party/googleapis",
    Path(grpc_tools.__file__).with_name("_proto"),
)


@cache
def compiled(source: str = SOURCE) -> FileDescriptorSet:
    """Return the descriptors of a contract and of its imports."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "shop.proto").write_text(source, encoding="utf-8")
        image = Path(folder) / "image.binpb"
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={image}"]
        includes = [f"-I{path}" for path in (folder, *INCLUDED)]
        assert protoc.main(["protoc", *includes, *options, "shop.proto"]) == 0
        return FileDescriptorSet.FromString(image.read_bytes())


def shop(folder: Path, source: str = SOURCE) -> Image:
    """Return the image of a contract, whose source is written to a folder for the lines inside of options."""
    path = folder / "shop.proto"
    path.write_text(source, encoding="utf-8")
    return Image(compiled(source), sources={path.name: path})


def edited(old: str, new: str) -> str:
    """Return the source of the shop with one text replaced, which it has exactly once."""
    assert SOURCE.count(old) == 1, f"{old!r} occurs {SOURCE.count(old)} times"
    return SOURCE.replace(old, new)
