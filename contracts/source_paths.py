"""Paths of declarations, as descriptor.proto's SourceCodeInfo defines them."""

from __future__ import annotations

from typing import TypeAlias

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

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


def file_of(element: Element) -> FileDescriptor:
    """Return the file with a declaration."""
    match element:
        case FileDescriptor():
            return element
        case MethodDescriptor():
            return element.containing_service.file
        case EnumValueDescriptor():
            return element.type.file
        case _:
            return element.file  # type: ignore[union-attr]  # the stubs omit the file of a field


def full_name_of(element: Element) -> str:
    """Return the full name of a declaration. The name of an enum value includes its enum; a file has its path."""
    match element:
        case EnumValueDescriptor():
            return f"{element.type.full_name}.{element.name}"
        case FileDescriptor():
            return str(element.name)
        case _:
            return str(element.full_name)


def options_number(element: Element) -> int:
    """Return the field number of the options of a declaration."""
    return next(number for kind, number in _OPTIONS if isinstance(element, kind))


def path_of(element: Element) -> tuple[int, ...]:
    """Return the path of a declaration, as descriptor.proto's SourceCodeInfo defines it."""
    match element:
        case FileDescriptor():
            return ()
        case ServiceDescriptor():
            return (_SERVICES_OF_FILE, element.index)
        case MethodDescriptor():
            return (*path_of(element.containing_service), _METHODS, element.index)
        case EnumValueDescriptor():
            return (*path_of(element.type), _VALUES, element.index)
        case FieldDescriptor():
            return _path_of_field(element)
        case EnumDescriptor():
            of_message, of_file = _ENUMS, _ENUMS_OF_FILE
        case _:
            of_message, of_file = _NESTED, _MESSAGES_OF_FILE
    index, parent = _index_of(element), element.containing_type
    return (of_file, index) if parent is None else (*path_of(parent), of_message, index)


def _path_of_field(field: FieldDescriptor) -> tuple[int, ...]:
    owner = field.containing_type
    if owner is not None and not field.is_extension:
        return (*path_of(owner), _FIELDS, field.index)
    scope = field.extension_scope
    return (_EXTENSIONS_OF_FILE, field.index) if scope is None else (*path_of(scope), _EXTENSIONS, field.index)


def _index_of(element: Descriptor | EnumDescriptor) -> int:
    parent, is_message = element.containing_type, isinstance(element, Descriptor)
    if parent is None:
        names = list(element.file.message_types_by_name if is_message else element.file.enum_types_by_name)
    else:
        names = [each.name for each in (parent.nested_types if is_message else parent.enum_types)]
    return names.index(element.name)
