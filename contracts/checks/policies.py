"""Checks of policies as a whole: each method declares one, and its values obey the rules of policy.proto."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import protovalidate

from buf.validate import validate_pb2
from contracts.malformed_times import malformed_times
from contracts.violations import violations_of
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject
    from contracts.field_value import FieldValue


def missing(subject: Subject) -> Iterator[Problem]:
    """Yield each method without a policy; if no method has any, each service instead."""
    hint = "add option (solo60.mesh.v1.policy) with a deadline and scopes"
    if not subject.policies:
        for service in subject.image.services():
            if service.methods:
                yield subject.problem(service, f"no method has a policy; {hint} to each")
        return
    with_policy = {method.full_name for method, _ in subject.policies}
    for method in subject.image.methods.values():
        if method.full_name not in with_policy:
            yield subject.problem(method, f"has no policy; {hint}")


def out_of_range(option: str, subject: Subject) -> Iterator[Problem]:
    """Yield each value of an option that breaks a protovalidate rule of policy.proto."""
    for method, policy in subject.policies:
        declared: dict[str, FieldValue] = {field.name: value for field, value in policy.ListFields()}
        alone = {option: declared[option]} if option in declared else {}
        try:
            declaration = policy_pb2.MethodPolicy(**alone)
            for violation in malformed_times(declaration) or violations_of(declaration):
                names = re.sub(r"\[\d*\]", "", violation.field).split(".")
                if names[0] == option:
                    yield subject.in_policy(method, f"{violation.field} {violation.description}", *names)
        except protovalidate.EvaluationError as error:  # such as a duration of a million years
            yield subject.in_policy(method, f"{option} has a value that cannot be checked: {error}", option)


def _has_rule(field: FieldDescriptor) -> bool:
    inner = field.message_type.fields if field.message_type is not None else ()
    return field.GetOptions().HasExtension(validate_pb2.field) or any(map(_has_rule, inner))


# Options with a protovalidate rule in policy.proto, on the option itself or inside of it.
OPTIONS_WITH_RULES = tuple(field.name for field in policy_pb2.MethodPolicy.DESCRIPTOR.fields if _has_rule(field))
