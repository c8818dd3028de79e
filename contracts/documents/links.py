"""Links between documents: from the name of a method or a type to its heading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.documents.markdown_text import anchor, code, link
from contracts.image import name_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor

    from contracts.documents.catalog import Catalog

WELL_KNOWN_TYPES = "https://protobuf.dev/reference/protobuf/google.protobuf/"


class Links:
    """Links of one document. A heading of the same document needs no file name."""

    def __init__(self, catalog: Catalog, document: str) -> None:
        self._catalog = catalog
        self._document = document
        self._methods = {
            name_of(method): (service.document, method.name)
            for service in catalog.services
            for method in service.descriptor.methods
        }

    def to_name(self, name: str) -> str:
        """Return a link to the method or the message with this full name; any other text is code."""
        if name in self._methods:
            document, heading = self._methods[name]
            return self._to(name.rpartition(".")[2], document, heading)
        return self.to_type(self._catalog.messages[name]) if name in self._catalog.messages else code(name)

    def to_type(self, described: Descriptor | EnumDescriptor) -> str:
        """Return a link to a message or an enum. Types of packages without a document are in each document."""
        package = described.file.package
        if package == "google.protobuf":
            return link(code(described.name), f"{WELL_KNOWN_TYPES}#{anchor(described.name)}")
        name = name_in_package(described)
        return self._to(name, self._catalog.document_of(described) or self._document, name)

    def is_here(self, described: Descriptor | EnumDescriptor) -> bool:
        """Return whether this document describes a type that its service uses."""
        is_ours = described.file.package != "google.protobuf"
        return is_ours and self._catalog.document_of(described) in ("", self._document)

    def _to(self, text: str, document: str, heading: str) -> str:
        file = "" if document == self._document else f"{document}.md"
        return link(code(text), f"{file}#{anchor(heading)}")


def name_in_package(described: Descriptor | EnumDescriptor) -> str:
    """Return the name of a type within its package, such as "Outer.Inner"."""
    return str(described.full_name.removeprefix(f"{described.file.package}."))
