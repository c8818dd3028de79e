"""Checks of the services of a mesh: each has a port and a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.names import short_package
from contracts.service_options import MAX_PORT, default_port_of, http_calls_of
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import ServiceDescriptor

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject

    # A service, the message, and the wrong value of the option if it may have several.
    ServiceProblem = tuple[ServiceDescriptor, str, str]

MESH_PACKAGE = "solo60.mesh.v1"
# Services in these packages have no processes of their own. Every service serves those of the mesh, and tests serve the
# example.
PACKAGES_WITHOUT_PROCESS = frozenset({MESH_PACKAGE, "solo60.example.v1"})


def invalid_ports(services: Iterable[ServiceDescriptor]) -> Iterator[ServiceProblem]:
    """Yield each service without a valid `default_port`."""
    for service in services:
        is_process = service.file.package not in PACKAGES_WITHOUT_PROCESS
        if is_process and not 1 <= default_port_of(service) <= MAX_PORT:
            yield service, f"default_port must be 1 to {MAX_PORT}", ""


def shared_ports(services: Iterable[ServiceDescriptor]) -> Iterator[ServiceProblem]:
    """Yield each service with the port of another one."""
    first: dict[int, ServiceDescriptor] = {}
    for service in _with_port(services):
        port = default_port_of(service)
        if first.setdefault(port, service) is not service:
            yield service, f"default_port: {port} belongs to {first[port].full_name}; choose another one", ""


def shared_names(services: Iterable[ServiceDescriptor]) -> Iterator[ServiceProblem]:
    """Yield each service with the short name of another one."""
    first: dict[str, ServiceDescriptor] = {}
    for service in _with_port(services):
        name = short_package(service.file.package)
        if first.setdefault(name, service) is not service:
            yield service, f"package: {name} belongs to {first[name].full_name}; rename the package", ""


def unknown_http_calls(services: Iterable[ServiceDescriptor]) -> Iterator[ServiceProblem]:
    """Yield each of `http_calls` that is not a method of its service."""
    for service in services:
        own = {f"{service.full_name}/{method.name}" for method in service.methods}
        for call in http_calls_of(service):
            if call not in own:
                yield service, f"http_calls: {call} is not a method of this service; name one of its methods", call


def port_missing(subject: Subject) -> Iterator[Problem]:
    """Yield each service of a mesh without a valid `default_port`. A set without any port has no mesh."""
    services = list(subject.image.services())
    if any(map(default_port_of, services)):
        yield from _problems(subject, invalid_ports(services), policy_pb2.DEFAULT_PORT_FIELD_NUMBER)


def port_taken(subject: Subject) -> Iterator[Problem]:
    """Yield each service with the port of another one."""
    return _problems(subject, shared_ports(subject.image.services()), policy_pb2.DEFAULT_PORT_FIELD_NUMBER)


def name_taken(subject: Subject) -> Iterator[Problem]:
    """Yield each service with the short name of another one."""
    return _problems(subject, shared_names(subject.image.services()))


def http_call_unknown(subject: Subject) -> Iterator[Problem]:
    """Yield each of `http_calls` that is not a method of its service."""
    return _problems(subject, unknown_http_calls(subject.image.services()), policy_pb2.HTTP_CALLS_FIELD_NUMBER)


def _with_port(services: Iterable[ServiceDescriptor]) -> Iterator[ServiceDescriptor]:
    return (service for service in services if 1 <= default_port_of(service) <= MAX_PORT)


def _problems(subject: Subject, found: Iterable[ServiceProblem], *option: int) -> Iterator[Problem]:
    for service, message, value in found:
        yield subject.problem(service, message, *option, *([value] if value else []))
