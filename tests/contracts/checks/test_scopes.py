from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from contracts.checks.run import check
from solo60.mesh.v1 import policy_pb2
from tests.support.images import image_of


def findings(*scopes: str, external: str = "", called: bool = False, port: int = 50071) -> list[tuple[str, str]]:
    """Declare a service with a method for each scope, and return the ids and scopes of the findings.

    With `called`, another service calls the first method.
    """
    file = FileDescriptorProto(name="test.proto", package="acme.test.v1", syntax="proto3")
    file.dependency.append(policy_pb2.DESCRIPTOR.name)
    file.message_type.add(name="Message")
    service = file.service.add(name="TestService")
    if port:
        service.options.Extensions[policy_pb2.default_port] = port
    if external:
        service.options.Extensions[policy_pb2.external_scopes].append(external)
    callers = [("Caller", "test.call")] if called else []
    for name, scope in [*((f"Do{number}", scope) for number, scope in enumerate(scopes)), *callers]:
        owner = file.service.add(name="Callers") if name == "Caller" else service
        method = owner.method.add(name=name, input_type=".acme.test.v1.Message", output_type=".acme.test.v1.Message")
        policy = method.options.Extensions[policy_pb2.policy]
        policy.deadline.seconds = 2 if name == "Caller" else 1
        policy.scopes.extend(scope.split())
        if name == "Caller":
            policy.calls.append("acme.test.v1.TestService/Do0")
    found = check(image_of(file), ignored=["PORT_MISSING", "NAME_TAKEN"])
    return [(finding.id, finding.message.split('"')[1]) for finding in found]


@pytest.mark.parametrize(
    ("scopes", "unused"),
    [
        (("test.raed", "test.read", "test.read"), ["test.raed"]),
        (("test.raed", "test.read"), ["test.raed", "test.read"]),
        (("test.read", "test.read"), []),
        (("test.read",), []),
        (("tets.read",), ["tets.read"]),
        (("test.raed test.raed", "test.read", "test.read"), ["test.raed"]),
    ],
    ids=["misspelt", "two scopes", "two methods", "the only scope", "another name than the service", "listed twice"],
)
def test_a_scope_of_one_method_that_nobody_has_is_reported(scopes: tuple[str, ...], unused: list[str]) -> None:
    """A scope that only one method of a mesh requires and no caller has is reported.

    The only scope of a service is reported only if it begins with another name than the service's.
    """
    assert findings(*scopes) == [("SCOPE_UNUSED", scope) for scope in unused]


def test_a_scope_that_somebody_has_passes() -> None:
    """A caller of the method has the scope, and so has a caller outside of the mesh that the service declares."""
    assert findings("test.raed", "test.read", "test.read", called=True) == []
    assert findings("test.raed", "test.read", "test.read", external="test.raed") == []
    assert findings("test.read", external="test.erase") == [("SCOPE_EXTERNAL", "test.erase")]


def test_the_callers_of_other_services_are_unknown() -> None:
    """A service without a default_port is no part of a mesh, so its scopes may belong to anybody."""
    assert findings("test.raed", "test.read", port=0) == []
