"""Images of contracts that tests declare, or that installed packages contain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from contracts.image import Image

if TYPE_CHECKING:
    from collections.abc import Iterable


def set_with_imports(files: Iterable[FileDescriptorProto]) -> FileDescriptorSet:
    """Return a set of files and of their imports, which must be imported in Python. Each file follows its imports."""
    found: dict[str, FileDescriptorProto] = {}

    def add(file: FileDescriptorProto) -> None:
        if file.name not in found:
            for name in file.dependency:
                imported = FileDescriptorProto()
                descriptor_pool.Default().FindFileByName(name).CopyToProto(imported)
                add(imported)
            found[file.name] = file

    for file in files:
        add(file)
    return FileDescriptorSet(file=found.values())


def image_of(*files: FileDescriptorProto) -> Image:
    """Return an image that examines `files`."""
    return Image(set_with_imports(files), {file.name for file in files})
