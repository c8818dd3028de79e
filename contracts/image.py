"""Image of contracts: the descriptors of one FileDescriptorSet, with the line of each declaration in its source.

buf build --as-file-descriptor-set -o image.binpb
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from contracts.source_paths import file_of, options_number, path_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from google.protobuf.descriptor import (
        Descriptor,
        EnumDescriptor,
        FieldDescriptor,
        MethodDescriptor,
        OneofDescriptor,
        ServiceDescriptor,
    )
    from google.protobuf.descriptor_pb2 import SourceCodeInfo
    from google.protobuf.message import Message

    from contracts.source_paths import Element

    Locations = dict[tuple[int, ...], SourceCodeInfo.Location]

# Field of each file in an image of `buf build`, and the field inside of it that is true for an import.
_BUF_EXTENSION, _IS_IMPORT = 8042, 1
# Descriptors with another meaning of our option numbers cannot be parsed, because Python finds options by number.
SHARED_NUMBER = (
    "an option of the contracts has a number of solo60/mesh/v1/policy.proto, 60060 to 60065: choose another number."
)
# Contracts that others copy and import.
_FOREIGN_FOLDERS = ("google/", "buf/")


class ImageError(Exception):
    """Unreadable image; the message gives the reason."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Place in the source: a file as the image names it, and a line from 1. The line is 0 if the image has no lines."""

    file: str
    line: int


class Image:
    """Contracts to examine, and the files that they import.

    `files` are the contracts to examine, in the order of the image: those in `names`, or all. `every_file` also has the
    imports. The image must contain every import, in any order. `sources` maps a file's name to its source, which makes
    the lines inside of an option exact: without it, they are those of the option's start. Raises ImageError if the
    descriptors are invalid.
    """

    def __init__(
        self, image: FileDescriptorSet, names: Collection[str] | None = None, sources: dict[str, Path] | None = None
    ) -> None:
        # A separate pool, so that contracts with outdated or missing generated code can be read too.
        self._pool = DescriptorPool()
        _add_all(self._pool, image)
        self.every_file = tuple(self._pool.FindFileByName(file.name) for file in image.file)
        self.files = tuple(file for file in self.every_file if names is None or file.name in names)
        self._sources = sources or {}
        self._locations = {file.name: _locations_in(file) for file in image.file}
        self.methods = {name_of(method): method for service in self.services() for method in service.methods}
        self.imported_methods = {
            name_of(method): method
            for file in self.every_file
            for service in file.services_by_name.values()
            for method in service.methods
        }

    @classmethod
    def read(cls, path: Path) -> Image:
        """Return the image in a file; raise ImageError, with the path, or OSError."""
        try:
            return cls.parse(path.read_bytes())
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None

    @classmethod
    def parse(cls, data: bytes) -> Image:
        """Return the image of a serialized FileDescriptorSet or of a `buf build` image; raise ImageError.

        Imports are not examined: files that buf marks as imports, and those of Google and buf if there are others.
        """
        try:
            image = FileDescriptorSet.FromString(data)
        except DecodeError:
            raise ImageError(
                f"The image is not a FileDescriptorSet. Write one with `buf build -o image.binpb`. Or {SHARED_NUMBER}"
            ) from None
        if not image.file:
            raise ImageError("The image contains no files. Write one with `buf build -o image.binpb`.")
        return cls(image, _names_to_examine(image))

    def services(self) -> Iterator[ServiceDescriptor]:
        """Yield every service in `files`."""
        for file in self.files:
            yield from file.services_by_name.values()

    def messages(self) -> Iterator[Descriptor]:
        """Yield every message in `files`, also nested ones, without the entries of maps."""
        for file in self.files:
            for message in file.message_types_by_name.values():
                yield from _with_nested(message)

    def enum(self, name: str) -> EnumDescriptor | None:
        """Return the enum with this full name, also from an import, or None."""
        try:
            return self._pool.FindEnumTypeByName(name)
        except KeyError:
            return None

    def imports(self, name: str) -> bool:
        """Return whether a file of the image has this name, such as "buf/validate/validate.proto"."""
        return name in self._locations

    def path_of(self, name: str) -> str:
        """Return the path of a file's source, or the file's name if the source is unknown."""
        return str(self._sources.get(name, name))

    def location_of(self, element: Element, *option: int | str) -> Location:
        """Return the place of a declaration, or of one of its options.

        `option` is a path into the options: the number of the option, and below it the name of each field, as in
        `location_of(method, 60060, "retry", "codes")`.
        """
        file, path = file_of(element), path_of(element)
        locations = self._locations[file.name]
        names = [part for part in option if isinstance(part, str)]
        start = (*path, options_number(element), *(part for part in option if isinstance(part, int)))
        parts = [location for at, location in locations.items() if at[: len(start)] == start]
        if option and parts:
            return Location(file.name, self._line_inside(file.name, parts, names))
        found = locations.get(path)
        return Location(file.name, found.span[0] + 1 if found else 0)

    def comment_of(self, element: Element) -> str:
        """Return the comment above a declaration, without the space after each comment mark."""
        found = self._locations[file_of(element).name].get(path_of(element))
        lines = found.leading_comments.rstrip().split("\n") if found else []
        return "\n".join(line.removeprefix(" ").rstrip() for line in lines)

    def options_of(self, element: Element | OneofDescriptor) -> Message:
        """Return the options of a declaration, with the extensions that this image itself declares."""
        options: Message = element.GetOptions()
        try:
            descriptor = self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name)
        except KeyError:  # a contract without any extension
            return options
        return GetMessageClass(descriptor).FromString(options.SerializeToString())

    def extension(self, name: str) -> FieldDescriptor | None:
        """Return the extension with this full name, or None if no file of the image declares it."""
        try:
            return self._pool.FindExtensionByName(name)
        except KeyError:
            return None

    def _line_inside(self, file: str, parts: Sequence[SourceCodeInfo.Location], names: Sequence[str]) -> int:
        """Return the line of a nested field in the parts of an option, or of the innermost field that is found."""
        lines = self._lines_of(file)
        for count in range(len(names), 0, -1):
            for part in parts:
                line = _find(lines, part, names[:count])
                if line is not None:
                    return line
        return parts[0].span[0] + 1

    def _lines_of(self, file: str) -> list[str]:
        path = self._sources.get(file)
        return path.read_text(encoding="utf-8").splitlines() if path is not None else []


def name_of(method: MethodDescriptor) -> str:
    """Return the name of a method as contracts write it: "package.Service/Method"."""
    return f"{method.containing_service.full_name}/{method.name}"


def _add_all(pool: DescriptorPool, image: FileDescriptorSet) -> None:
    """Add each file after its imports."""
    waiting = {file.name: file for file in image.file}

    def add(name: str) -> None:
        file = waiting.pop(name)
        for imported in file.dependency:
            if imported in waiting:
                add(imported)
        _add(pool, file)

    for file in image.file:
        if file.name in waiting:
            add(file.name)


def _add(pool: DescriptorPool, file: FileDescriptorProto) -> None:
    for imported in file.dependency:
        try:
            pool.FindFileByName(imported)
        except KeyError:
            raise ImageError(
                f"{file.name} imports {imported}, but the image lacks it. Build the image with its imports."
            ) from None
    try:
        pool.AddSerializedFile(file.SerializeToString())
    except TypeError as error:
        raise ImageError(f"{file.name} cannot be read: {error}") from None


def _names_to_examine(image: FileDescriptorSet) -> list[str]:
    names = [file.name for file in image.file if not _is_import(file)]
    return [name for name in names if not name.startswith(_FOREIGN_FOLDERS)] or names


def _is_import(file: FileDescriptorProto) -> bool:
    mark = _unknown_fields_of(file).get(_BUF_EXTENSION, b"")
    return bool(_unknown_fields_of(Empty.FromString(mark)).get(_IS_IMPORT))


def _unknown_fields_of(message: Message) -> dict[int, Any]:
    fields = UnknownFieldSet(message)
    return {fields[index].field_number: fields[index].data for index in range(len(fields))}


def _find(lines: Sequence[str], part: SourceCodeInfo.Location, names: Sequence[str]) -> int | None:
    """Return the line, from 1, on which the last of `names` follows the others in a part of a file."""
    first, last = part.span[0], part.span[2] if len(part.span) == 4 else part.span[0]  # noqa: PLR2004 - a span of several lines has four numbers
    at = first
    for name in names:
        word = re.compile(rf"\b{re.escape(name)}\b")
        while at <= last and at < len(lines) and not word.search(lines[at].partition("//")[0]):
            at += 1
        if at > last or at >= len(lines):
            return None
    return at + 1


def _locations_in(file: FileDescriptorProto) -> Locations:
    return {tuple(location.path): location for location in file.source_code_info.location}


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    if not message.GetOptions().map_entry:
        yield message
        for nested in message.nested_types:
            yield from _with_nested(nested)
