"""Previous release: its contracts, and the part of an expectation that they can express.

Consumers and providers of the previous release run beside those of today during each release.
"""

from __future__ import annotations

import unittest
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, cast

from contracts.diff.revision import read_revision
from contracts.method import Method, read_method
from contracts.policy import ContractError
from contracts.service_error import PREFIX
from contracts.settings import read_settings
from contracts.testing.pattern import ANY, PERSONAL, UNSET, placeholder_in
from contracts.testing.verification import BrokenExpectation
from solo60.common.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

    from contracts.image import Image
    from contracts.testing.expectation import Expectation
    from contracts.testing.pattern import Pattern, Value


class NewExpectation(unittest.SkipTest):
    """Expectation that the previous release cannot express, wholly or in part; test runners skip the test."""


@dataclass(frozen=True, slots=True)
class KnownPart:
    """Part of an expectation with the types of the previous release, and the names in the rest.

    `new_in_requests` and `new_in_answers` are fields and values that the previous release lacks. Request fields whose
    value does not matter are not listed.
    """

    expectation: Expectation
    new_in_requests: tuple[str, ...]
    new_in_answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreviousRelease:
    """Contracts of the release before this one. `name` is that of its git revision, such as "main".

    `allowed_changes` are those of `contracts.settings`. "ERROR_ADDED package.Service/Method" allows expectations of
    errors that the method did not declare.
    """

    name: str
    image: Image
    allowed_changes: frozenset[str] = frozenset()

    @classmethod
    def read(cls, workspace: Path, revision: str) -> Self:
        """Return the release at a git revision of a buf workspace.

        Raises MissingRevision if there is no such revision, WorkspaceError if its contracts do not compile, and
        SettingsError for malformed settings.
        """
        return cls(revision, read_revision(workspace, revision), read_settings(workspace).allowed_changes)

    def method(self, path: str) -> Method:
        """Return the release's method with this path ("/package.Service/Method"); raise ContractError without it."""
        descriptor = self.image.imported_methods.get(path.removeprefix("/"))
        if descriptor is None:
            raise ContractError(f"{self.name} has no method {path}.")
        return read_method(descriptor)

    def known_part(self, expectation: Expectation) -> KnownPart:
        """Return the part of an expectation that this release knows.

        Raises NewExpectation if the release does not implement the method, and BrokenExpectation if the method does not
        declare the error and no allowed change says so.
        """
        try:
            method = self.method(expectation.method.path)
        except ContractError:
            raise NewExpectation(f"{expectation} is new: {self.name} does not have the method.") from None
        if method.policy.contract_only:
            raise NewExpectation(f"{expectation} is new: {self.name} does not implement the method.")
        self._check_error(expectation, method)
        sent, received = _descriptor_of(method.request_type), _descriptor_of(method.response_type)
        known = replace(
            expectation,
            method=method,
            requests=tuple(_known(each, sent) for each in expectation.requests),
            answers=tuple(_known(each, received) for each in expectation.answers),
        )
        in_requests = dict.fromkeys(name for each in expectation.requests for name in _new(each, sent))
        in_answers = dict.fromkeys(name for each in expectation.answers for name in _new(each, received))
        return KnownPart(known, tuple(in_requests), tuple(in_answers))

    def _check_error(self, expectation: Expectation, method: Method) -> None:
        error = expectation.error
        if not error or error.startswith("status "):
            return
        reasons = self.image.enum(ErrorReason.DESCRIPTOR.full_name)
        reason = reasons.values_by_name.get(PREFIX + error) if reasons is not None else None
        if reason is not None and reason.number in method.policy.errors:
            return
        change = f"ERROR_ADDED {method.full_name}"
        if change in self.allowed_changes:
            raise NewExpectation(f"{expectation} is new: {self.name} does not declare {error}.")
        raise BrokenExpectation(
            f"{expectation}: {self.name} does not declare {error}, so its consumers cannot handle it, and its provider "
            f'never sends it. If both are harmless, add "{change}" to allowed-changes in pyproject.toml.'
        )


def _descriptor_of(message_type: type[Message]) -> Descriptor:
    return cast("Descriptor", message_type.DESCRIPTOR)


def _known(pattern: Pattern, descriptor: Descriptor) -> Pattern:
    """Return the fields and values that a version of a message type has."""
    known: list[tuple[str, Value]] = []
    for name, value in pattern:
        field = descriptor.fields_by_name.get(name)
        if field is None or any(_is_new_value(field, each) for other, each in pattern if other == name):
            continue
        if isinstance(value, str) or field.message_type is None:
            known.append((name, value))
        else:
            known.append((name, _known(value, field.message_type)))
    return tuple(known)


def _new(pattern: Pattern, descriptor: Descriptor) -> Iterator[str]:
    """Yield the fields and values with a meaning that a version of a message type lacks."""
    for name, value in pattern:
        field = descriptor.fields_by_name.get(name)
        if field is None and value not in (ANY, PERSONAL, UNSET):
            yield f"{descriptor.name}.{name}"
        elif field is not None and _is_new_value(field, value):
            yield f"{value} of {descriptor.name}.{name}"
        elif field is not None and field.message_type is not None and not isinstance(value, str):
            yield from _new(value, field.message_type)


def _is_new_value(field: FieldDescriptor, value: Value) -> bool:
    """Return whether an enum has no value with this name."""
    if field.enum_type is None or not isinstance(value, str) or value in (ANY, PERSONAL, UNSET):
        return False
    return not placeholder_in(value) and not value.isdecimal() and value not in field.enum_type.values_by_name
