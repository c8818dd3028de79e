"""Coverage of each option of a method's policy by the reader, the checks, the explanation and the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from contracts.checks.registry import CHECKS
from contracts.method import find_method
from mesh.config import load_settings
from operations.contracts.explanation import DEFAULT, explain
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor

    from contracts.method import Method

DOCUMENT = Path(__file__).parents[1] / "docs" / "interceptors.md"
FIELDS = policy_pb2.MethodPolicy.DESCRIPTOR.fields_by_name


def method_with(*options: str) -> Method:
    """Register a contract with one method, whose policy sets these options, and return the method."""
    package = "_".join(("solo60.options", *options))
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    file.dependency.append(policy_pb2.DESCRIPTOR.name)
    file.message_type.add(name="Message")
    method = file.service.add(name="Service").method.add(
        name="Do", input_type=f".{package}.Message", output_type=f".{package}.Message", server_streaming=True
    )
    values: dict[str, Any] = {option: any_value_of(FIELDS[option]) for option in options}
    declared = method.options.Extensions[policy_pb2.policy]
    declared.SetInParent()
    declared.MergeFrom(policy_pb2.MethodPolicy(**values))
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return find_method(f"/{package}.Service/Do")


def any_value_of(field: FieldDescriptor) -> object:
    """Return a value that is not the default, with each field of a message set."""
    value: object = "1" if field.type == field.TYPE_STRING else 1
    if field.enum_type is not None:
        value = field.enum_type.values[-1].number
    elif field.message_type is not None:
        value = {each.name: any_value_of(each) for each in field.message_type.fields}
    return [value] if field.is_repeated else value


WITHOUT_OPTIONS = method_with()
WITH_OPTION = {option: method_with(option) for option in FIELDS}


@pytest.mark.parametrize("option", FIELDS)
def test_the_policy_has_each_option(option: str) -> None:
    """`Policy` has a value for each option of the contract."""
    assert WITH_OPTION[option].policy != WITHOUT_OPTIONS.policy, f"contracts/policy.py: read_policy ignores {option}"


@pytest.mark.parametrize("option", FIELDS)
def test_each_option_is_checked(option: str) -> None:
    """Each option has a check, except single booleans and enums: buf rejects their wrong values.

    The id of a check begins with the name of its option. An option with a protovalidate rule has a check for it.
    """
    field = FIELDS[option]
    prefix = option.removesuffix("s").upper()

    is_checked_by_buf = field.type in (field.TYPE_BOOL, field.TYPE_ENUM) and not field.is_repeated
    assert is_checked_by_buf or any(each.id.startswith(prefix) for each in CHECKS), (
        f"policy.proto: {option} has no protovalidate rule, and contracts/checks/registry.py has no check {prefix}_..."
    )


@pytest.mark.parametrize("option", FIELDS)
def test_the_explanation_shows_each_option(option: str) -> None:
    """`solo60 explain` shows each option that a contract declares."""
    facts = explain(WITH_OPTION[option], load_settings())

    shown = {fact.name.partition(".")[0] for fact in facts if fact.source != DEFAULT}
    assert option in shown, f"cli/explanation.py: `solo60 explain` does not show {option}"


@pytest.mark.parametrize("option", FIELDS)
def test_the_documentation_names_each_option(option: str) -> None:
    """The tables of docs/interceptors.md name each option in their last column, with the part that obeys it."""
    declared_by = re.findall(r"^\| .* \| ([^|]*) \|$", DOCUMENT.read_text(), re.MULTILINE)

    assert f"`{option}`" in " ".join(declared_by), f"docs/interceptors.md: no table has {option} under `declared by`"
