"""Subject of the checks: the contracts of an image, their policies, their call graph and the code of services."""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.descriptor import MethodDescriptor

from contracts.call_graph import CallGraph
from contracts.checks.finding import Problem
from contracts.image import name_of
from contracts.policy import declares_policy
from contracts.source.code import Code
from contracts.source.names import GeneratedNames
from contracts.source.uses import uses_in
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor

    from contracts.image import Image

POLICY = policy_pb2.POLICY_FIELD_NUMBER

Value = TypeVar("Value")


class Subject:
    """Contracts under examination. `now` is the time, in UTC, to which sunsets are compared.

    `policies` has each examined method that declares a policy. `methods` has every method of the image, by name.
    `folders` has the services of each folder with Python code.
    """

    def __init__(self, image: Image, now: datetime, folders: Mapping[Path, tuple[ServiceDescriptor, ...]]) -> None:
        self.image = image
        self.now = now
        self._folders = folders
        self.methods = image.imported_methods
        self.policies = [
            (method, method.GetOptions().Extensions[policy_pb2.policy])
            for method in image.methods.values()
            if declares_policy(method)
        ]

    @cached_property
    def graph(self) -> CallGraph:
        return CallGraph(self.methods)

    @cached_property
    def generated(self) -> GeneratedNames:
        return GeneratedNames(self.image)

    @cached_property
    def code(self) -> list[Code]:
        """Code of the services. Raises SourceError for a file that is not Python."""
        return [Code(each, tuple(uses_in(folder, self.generated))) for folder, each in self._folders.items()]

    def problem(
        self,
        element: MethodDescriptor | ServiceDescriptor | Descriptor | FieldDescriptor,
        message: str,
        *option: int | str,
    ) -> Problem:
        """Return a problem of a declaration, at the line of one of its options (see `Image.location_of`)."""
        name = name_of(element) if isinstance(element, MethodDescriptor) else element.full_name
        return Problem(self.image.location_of(element, *option), f"{name}: {message}.")

    def in_policy(self, method: MethodDescriptor, message: str, *option: str) -> Problem:
        """Return a problem of a policy, at the line of one of its options."""
        return self.problem(method, message, POLICY, *option)

    def no_method(self, name: str) -> str:
        """Return the message that there is no method `name`, with the most similar name."""
        similar = get_close_matches(name, self.methods, n=1)
        example = f", such as {similar[0]}" if similar else ""
        return f"there is no method {name}; write it as package.Service/Method{example}"


def repeated(values: Iterable[Value]) -> list[Value]:
    """Return the values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]
