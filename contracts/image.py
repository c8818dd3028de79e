"""Image of contracts: the descriptors of one FileDescriptorSet, with the line of each declaration in its source.

buf build --as-file-descriptor-set -o image.binpb
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    OneofDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from google.protobuf.descriptor_pb2 import SourceCodeInfo
    from google.protobuf.message import Message

Element: TypeAlias = (
    Descriptor
    | EnumDescriptor
    | EnumValueDescriptor
    | FieldDescriptor
    | FileDescriptor
    | MethodDescriptor
    | ServiceDescriptor
)

# Field numbers of descriptor.proto, which lead from a parent to its child in a source location.
_MESSAGES_OF_FILE, _ENUMS_OF_FILE, _SERVICES_OF_FILE, _EXTENSIONS_OF_FILE = 4, 5, 6, 7
_FIELDS, _NESTED, _ENUMS, _EXTENSIONS = 2, 3, 4, 6
_VALUES = 2
_METHODS = 2
_OPTIONS: tuple[tuple[type, int], ...] = (
    (FileDescriptor, 8),
    (Descriptor, 7),
    (FieldDescriptor, 8),
    (EnumDescriptor, 3),
    (EnumValueDescriptor, 3),
    (ServiceDescriptor, 3),
    (MethodDescriptor, 4),
)


class ImageError(Exception):
    """Unreadable image; the message gives the reason."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Place in the source: a file as the image names it, and a line from 1. The line is 0 if the image has no lines."""

    file: str
    line: int


class Image:
    """Contracts to examine, and the files that they import.

    `files` are the contracts to examine, in the order of the image. The image must contain every import. `sources` maps
    a file's name to its source, which makes the lines inside of an option exact: without it, they are those of the
    option's start.
    """

    def __init__(
        self, image: FileDescriptorSet, names: Collection[str] = (), sources: dict[str, Path] | None = None
    ) -> None:
        # A separate pool, so that contracts with outdated or missing generated code can be read too.
        self._pool = DescriptorPool()
        for file in image.file:
            _add(self._pool, file)
        every_file = [self._pool.FindFileByName(file.name) for file in image.file]
        self.files = tuple(file for file in every_file if not names or file.name in names)
        self._sources = sources or {}
        self._locations = {file.name: _locations_in(file) for file in image.file}
        self.methods = {name_of(method): method for service in self.services() for method in service.methods}
        self.imported_methods = {
            name_of(method): method
            for file in every_file
            for service in file.services_by_name.values()
            for method in service.methods
        }

    @classmethod
    def parse(cls, data: bytes) -> Image:
        """Return the image of a serialized FileDescriptorSet or of a `buf build` image; raise ImageError."""
        try:
            image = FileDescriptorSet.FromString(data)
        except DecodeError:
            raise ImageError(
                "The file is not a FileDescriptorSet. Write one with `buf build -o image.binpb`."
            ) from None
        if not image.file:
            raise ImageError("the image contains no files.")
        return cls(image)

    def services(self) -> Iterator[ServiceDescriptor]:
        """Yield every service in `files`."""
        for file in self.files:
            yield from file.services_by_name.values()

    def messages(self) -> Iterator[Descriptor]:
        """Yield every message in `files`, also nested ones, without the entries of maps."""
        for file in self.files:
            for message in file.message_types_by_name.values():
                yield from _with_nested(message)

    def imports(self, name: str) -> bool:
        """Return whether a file of the image has this name, such as "buf/validate/validate.proto"."""
        return name in self._locations

    def location_of(self, element: Element, *option: int | str) -> Location:
        """Return the place of a declaration, or of one of its options.

        `option` is a path into the options: the number of the option, and below it the name of each field, as in
        `location_of(method, 60060, "retry", "codes")`.
        """
        file, path = _file_of(element), _path_of(element)
        locations = self._locations[file.name]
        found = locations.get(path)
        numbers = [part for part in option if isinstance(part, int)]
        names = [part for part in option if isinstance(part, str)]
        if numbers:
            of_option = locations.get((*path, _options_number(element), *numbers))
            if of_option is not None:
                return Location(file.name, self._line_inside(file.name, of_option, names))
        return Location(file.name, found.span[0] + 1 if found else 0)

    def comment_of(self, element: Element) -> str:
        """Return the comment above a declaration, without the space after each comment mark."""
        found = self._locations[_file_of(element).name].get(_path_of(element))
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

    def _line_inside(self, file: str, location: SourceCodeInfo.Location, names: Sequence[str]) -> int:
        """Return the line of a nested field of an option, or the first line of the option."""
        first, last = location.span[0], location.span[2] if len(location.span) == 4 else location.span[0]  # noqa: PLR2004 - a span of several lines has four numbers
        lines = self._lines_of(file)[first : last + 1]
        at = 0
        for name in names:
            start = at
            while at < len(lines) and not re.search(rf"\b{re.escape(name)}\b", lines[at]):
                at += 1
            if at == len(lines):
                return first + start + 1
        return first + at + 1

    def _lines_of(self, file: str) -> list[str]:
        path = self._sources.get(file)
        return path.read_text(encoding="utf-8").splitlines() if path is not None else []


def name_of(method: MethodDescriptor) -> str:
    """Return the name of a method as contracts write it: "package.Service/Method"."""
    return f"{method.containing_service.full_name}/{method.name}"


def _add(pool: DescriptorPool, file: FileDescriptorProto) -> None:
    try:
        pool.AddSerializedFile(file.SerializeToString())
    except TypeError as error:
        raise ImageError(f"{file.name} cannot be read: {error}") from None


def _locations_in(file: FileDescriptorProto) -> dict[tuple[int, ...], SourceCodeInfo.Location]:
    return {tuple(location.path): location for location in file.source_code_info.location}


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    if not message.GetOptions().map_entry:
        yield message
        for nested in message.nested_types:
            yield from _with_nested(nested)


def _file_of(element: Element) -> FileDescriptor:
    match element:
        case FileDescriptor():
            return element
        case MethodDescriptor():
            return element.containing_service.file
        case EnumValueDescriptor():
            return element.type.file
        case _:
            return element.file  # type: ignore[union-attr]  # the stubs omit the file of a field


def _options_number(element: Element) -> int:
    return next(number for kind, number in _OPTIONS if isinstance(element, kind))


def _path_of(element: Element) -> tuple[int, ...]:
    """Return the path of a declaration, as descriptor.proto's SourceCodeInfo defines it."""
    match element:
        case FileDescriptor():
            return ()
        case ServiceDescriptor():
            return (_SERVICES_OF_FILE, element.index)
        case MethodDescriptor():
            return (*_path_of(element.containing_service), _METHODS, element.index)
        case EnumValueDescriptor():
            return (*_path_of(element.type), _VALUES, element.index)
        case FieldDescriptor():
            return _path_of_field(element)
        case EnumDescriptor():
            of_message, of_file = _ENUMS, _ENUMS_OF_FILE
        case _:
            of_message, of_file = _NESTED, _MESSAGES_OF_FILE
    index, parent = _index_of(element), element.containing_type
    return (of_file, index) if parent is None else (*_path_of(parent), of_message, index)


def _path_of_field(field: FieldDescriptor) -> tuple[int, ...]:
    owner = field.containing_type
    if owner is not None and not field.is_extension:
        return (*_path_of(owner), _FIELDS, field.index)
    scope = field.extension_scope
    return (_EXTENSIONS_OF_FILE, field.index) if scope is None else (*_path_of(scope), _EXTENSIONS, field.index)


def _index_of(element: Descriptor | EnumDescriptor) -> int:
    parent, is_message = element.containing_type, isinstance(element, Descriptor)
    if parent is None:
        names = list(element.file.message_types_by_name if is_message else element.file.enum_types_by_name)
    else:
        names = [each.name for each in (parent.nested_types if is_message else parent.enum_types)]
    return names.index(element.name)
