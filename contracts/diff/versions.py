"""Two versions of contracts to compare, and the users of the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.diff.usage import Usage

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor

    from contracts.image import Image, Location
    from contracts.source_paths import Element


class Versions:
    """Contracts before and after a change. A change hits the users of the old contracts."""

    def __init__(self, before: Image, after: Image) -> None:
        self.before, self.after = before, after
        self.usage = Usage(before)
        self.new_files = {file.name: file for file in after.files}
        self.new_services = {service.full_name: service for service in after.services()}
        self.new_messages = {message.full_name: message for message in after.messages()}

    def place_of(self, element: Element, *path: tuple[int, str] | str) -> Location:
        """Return the place, in the new contracts, of the deepest part of an option that has a line of its own.

        `path` leads into the option: by number and name, and by name alone inside of a value. Without a line inside of
        the option, the place is that of `element`.
        """
        start = self.after.location_of(element)
        numbered = [part for part in path if isinstance(part, tuple)]
        names = [part for part in path if isinstance(part, str)]
        for depth in range(len(numbered), 0, -1):
            numbers = (number for number, _ in numbered[:depth])
            inner = (name for _, name in numbered[depth:])
            found = self.after.location_of(element, *numbers, *inner, *names)
            if found != start:
                return found
        return start

    def place_of_removed(
        self, element: Element, file: FileDescriptor, parent: ServiceDescriptor | Descriptor | None = None
    ) -> Location:
        """Return the place of the new contracts that an element is missing from: its parent, or else its file.

        If the file is gone too, return the place in the old contracts.
        """
        name = parent.full_name if parent is not None else ""
        found = self.new_services.get(name) or self.new_messages.get(name) or self.new_files.get(file.name)
        return self.after.location_of(found) if found is not None else self.before.location_of(element)
