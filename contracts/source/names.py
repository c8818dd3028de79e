"""Names of a descriptor set in generated Python code: stub classes, event classes and RPC methods."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor_pb2 import FileDescriptorProto

# Parts of the names of generated modules.
MESSAGES, STUBS = "_pb2", "_pb2_grpc"


class GeneratedNames:
    """Classes that protoc generates for the files of a descriptor set.

    `methods` maps the full name of each service to the full names of its methods by name.
    """

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._classes: dict[str, str] = {}
        # Results of `of_class`, because a module names the same few classes many times.
        self._found: dict[str, str] = {}
        self.methods: dict[str, dict[str, str]] = {}
        self.events: set[str] = set()
        for file in files:
            module = file.name.removesuffix(".proto").replace("/", ".").replace("-", "_")
            for service in file.service:
                full_name = f"{file.package}.{service.name}"
                self.methods[full_name] = {method.name: f"{full_name}/{method.name}" for method in service.method}
                for suffix in ("Stub", "AsyncStub"):
                    self._classes[f"{module}{STUBS}.{service.name}{suffix}"] = full_name
            for message in file.message_type:
                if message.options.HasExtension(policy_pb2.event):
                    self.events.add(f"{file.package}.{message.name}")
                    self._classes[f"{module}{MESSAGES}.{message.name}"] = f"{file.package}.{message.name}"

    @cached_property
    def method_names(self) -> frozenset[str]:
        """Names of the methods of all services."""
        return frozenset().union(*self.methods.values())

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
