"""Names of contracts in generated Python code: stub classes, event classes and RPC methods."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from contracts.policy import is_event

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from contracts.image import Image

# Parts of the names of generated modules.
MESSAGES, STUBS = "_pb2", "_pb2_grpc"


class GeneratedNames:
    """Classes that protoc generates for the files of an image.

    `methods` maps the full name of each service to the full names of its methods by name. `events` maps full names to
    events.
    """

    def __init__(self, image: Image) -> None:
        self._classes: dict[str, str] = {}
        # Results of `of_class`, because a module names the same few classes many times.
        self._found: dict[str, str] = {}
        self.methods: dict[str, dict[str, str]] = {}
        self.events: dict[str, Descriptor] = {}
        for file in image.every_file:
            module = file.name.removesuffix(".proto").replace("/", ".").replace("-", "_")
            for service in file.services_by_name.values():
                name = service.full_name
                self.methods[name] = {method.name: f"{name}/{method.name}" for method in service.methods}
                for suffix in ("Stub", "AsyncStub"):
                    self._classes[f"{module}{STUBS}.{service.name}{suffix}"] = name
            for message in filter(is_event, file.message_types_by_name.values()):
                self.events[message.full_name] = message
                self._classes[f"{module}{MESSAGES}.{message.name}"] = message.full_name

    @cached_property
    def method_names(self) -> frozenset[str]:
        """Names of the methods of all services."""
        return frozenset().union(*self.methods.values())

    @cached_property
    def mention(self) -> re.Pattern[bytes]:
        """Pattern in the source of each module that may use a method of a stub or an event.

        A module that gets a method from another module needs no match, because the other module refers to the method.
        """
        methods, events = "|".join(self.method_names), "|".join(event.name for event in self.events.values())
        return re.compile(rf"getattr|\.\s*(?:{methods})\b|\b(?:{events})\b".encode())

    def of_class(self, dotted: str) -> str:
        """Return the full name of the service or event of a generated class, or "" for any other class.

        The packages of generated modules may be below another package, and an import may be relative.
        """
        if MESSAGES not in dotted:
            return ""
        if dotted not in self._found:
            self._found[dotted] = self._search(dotted)
        return self._found[dotted]

    def _search(self, dotted: str) -> str:
        found = {
            name
            for known, name in self._classes.items()
            if f".{dotted}".endswith(f".{known}") or f".{known}".endswith(f".{dotted}")
        }
        return found.pop() if len(found) == 1 else ""
