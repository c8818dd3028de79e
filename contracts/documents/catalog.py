"""Catalog of contracts: comments, options and references of each declaration, for documents about them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.documents.markdown_text import comment_text
from contracts.image import Image, name_of
from contracts.names import short_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import (
        Descriptor,
        EnumDescriptor,
        FieldDescriptor,
        MethodDescriptor,
        OneofDescriptor,
        ServiceDescriptor,
    )

    from contracts.field_value import FieldValue
    from contracts.source_paths import Element

POLICY = "solo60.mesh.v1.policy"
PII = "solo60.mesh.v1.pii"
EVENT = "solo60.mesh.v1.event"
DEFAULT_PORT = "solo60.mesh.v1.default_port"
FIELD_RULES = "buf.validate.field"
# Options of a policy that name other methods, and the words for the reverse.
REVERSED = {"calls": "called by", "calls_later": "called later by"}


@dataclass(frozen=True, slots=True)
class Service:
    """Service to document. `document` is the name of its document: "session" for solo60.session.v1.SessionService."""

    descriptor: ServiceDescriptor
    document: str


class Catalog:
    """Services of an image, sorted by name, with the comments, options and references of all declarations."""

    def __init__(self, image: Image) -> None:
        self.image = image
        found = sorted(image.services(), key=lambda service: service.full_name)
        counts = Counter(map(_short_name, found))
        self.services = tuple(
            Service(each, _short_name(each) if counts[_short_name(each)] == 1 else each.full_name) for each in found
        )
        self.messages = {message.full_name: message for message in image.messages()}
        self._callers: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._subscribers: dict[str, list[MethodDescriptor]] = defaultdict(list)
        for method in self.methods():
            self._note_references(method)

    def methods(self) -> Iterator[MethodDescriptor]:
        """Yield every method of `services`."""
        for service in self.services:
            yield from service.descriptor.methods

    def comment_of(self, element: Element) -> str:
        """Return the comment above a declaration as Markdown, or an empty text."""
        return comment_text(self.image.comment_of(element))

    def option_of(self, element: Element | OneofDescriptor, name: str) -> FieldValue | None:
        """Return the value of the option with this full name, or None if the declaration does not set it."""
        extension: FieldValue | None = self.image.extension(name)
        options = self.image.options_of(element)
        if extension is None or extension.containing_type is not options.DESCRIPTOR:
            return None
        return options.Extensions[extension] if options.HasExtension(extension) else None

    def rules_of(self, field: FieldDescriptor) -> FieldValue | None:
        """Return the protovalidate rules of a field, or None if it has none."""
        return self.option_of(field, FIELD_RULES)

    def port_of(self, service: ServiceDescriptor) -> int:
        """Return the default port of a service, or 0 if its contract declares none."""
        return self.option_of(service, DEFAULT_PORT) or 0

    def callers_of(self, method: MethodDescriptor, option: str) -> list[str]:
        """Return the methods whose policies name `method` in `calls` or `calls_later`."""
        return self._callers[option, name_of(method)]

    def subscribers_of(self, event: Descriptor) -> list[MethodDescriptor]:
        """Return the methods that subscribe to an event."""
        return self._subscribers[event.full_name]

    def events_of(self, service: ServiceDescriptor) -> list[Descriptor]:
        """Return the events that a service publishes: those of its package."""
        return [
            message
            for message in self.messages.values()
            if message.file.package == service.file.package and self.option_of(message, EVENT) is not None
        ]

    def document_of(self, element: Descriptor | EnumDescriptor | ServiceDescriptor) -> str:
        """Return the document of a type's package, or an empty text if the package has no service or several."""
        names = [each.document for each in self.services if each.descriptor.file.package == element.file.package]
        return names[0] if len(names) == 1 else ""

    def _note_references(self, method: MethodDescriptor) -> None:
        policy = self.option_of(method, POLICY)
        if policy is None:
            return
        for option in REVERSED:
            for callee in getattr(policy, option, ()):
                self._callers[option, callee].append(name_of(method))
        if getattr(policy, "subscribes_to", ""):
            self._subscribers[policy.subscribes_to].append(method)


def _short_name(service: ServiceDescriptor) -> str:
    return short_package(service.file.package) or service.name
