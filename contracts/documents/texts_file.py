"""File with the comments and example requests of contracts, as JSON beside the generated code.

Generated code lacks comments, and the generation of an example needs a validator. With this file, a process that
describes contracts needs neither the sources nor a validator. `contracts.stored_texts` reads it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.protobuf import json_format

from contracts.source_paths import full_name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, EnumDescriptor

    from contracts.documents.catalog import Catalog
    from contracts.documents.commands import Commands
    from contracts.source_paths import Element


def texts_of(catalog: Catalog, commands: Commands) -> str:
    """Return the texts of a catalog, in the order of the contracts."""
    comments = {full_name_of(each): comment for each in _elements(catalog) if (comment := catalog.comment_of(each))}
    examples = {
        method.input_type.full_name: json_format.MessageToDict(
            commands.example_of(method), preserving_proto_field_name=True
        )
        for method in catalog.methods()
    }
    return json.dumps({"comments": comments, "examples": examples}, ensure_ascii=False, indent=1) + "\n"


def _elements(catalog: Catalog) -> Iterator[Element]:
    for file in catalog.image.files:
        for service in file.services_by_name.values():
            yield service
            yield from service.methods
        for enum in file.enum_types_by_name.values():
            yield from _enum(enum)
    for message in catalog.messages.values():
        yield from _message(message)


def _message(message: Descriptor) -> Iterator[Element]:
    yield message
    yield from message.fields
    for enum in message.enum_types:
        yield from _enum(enum)


def _enum(enum: EnumDescriptor) -> Iterator[Element]:
    yield enum
    yield from enum.values
