"""Checks of the services of a mesh: each has a port and a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import ServiceDescriptor

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject

    Trouble = tuple[ServiceDescriptor, str]

MAX_PORT = 65_535
MESH_PACKAGE = "solo60.mesh.v1"
# Services in these packages have no processes of their own. Every service serves those of the mesh, and tests serve the
# example.
PACKAGES_WITHOUT_PROCESS = frozenset({MESH_PACKAGE, "solo60.example.v1"})


def short_name_of(service: ServiceDescriptor) -> str:
    """Return the short name of a service, the second part of its package: "gym" for "solo60.gym.v1.GymService"."""
    return (*service.full_name.split("."), "")[1]


def default_port_of(service: ServiceDescriptor) -> int:
    """Return the `default_port` that a service declares, or 0 if it declares none."""
    return int(service.GetOptions().Extensions[policy_pb2.default_port])


def http_calls_of(service: ServiceDescriptor) -> tuple[str, ...]:
    """Return the full names of the methods that the HTTP endpoint of a service calls."""
    return tuple(service.GetOptions().Extensions[policy_pb2.http_calls])


def external_scopes_of(service: ServiceDescriptor) -> tuple[str, ...]:
    """Return the scopes of a service for callers outside of the mesh."""
    return tuple(service.GetOptions().Extensions[policy_pb2.external_scopes])


def port_troubles(services: Iterable[ServiceDescriptor]) -> Iterator[Trouble]:
    """Yield each service without a valid `default_port`."""
    for service in services:
        is_process = service.file.package not in PACKAGES_WITHOUT_PROCESS
        if is_process and not 1 <= default_port_of(service) <= MAX_PORT:
            yield service, f"default_port must be 1 to {MAX_PORT}"


def shared_port_troubles(services: Iterable[ServiceDescriptor]) -> Iterator[Trouble]:
    """Yield each service with the port of another one."""
    first: dict[int, ServiceDescriptor] = {}
    for service in _with_port(services):
        port = default_port_of(service)
        if first.setdefault(port, service) is not service:
            yield service, f"default_port: {port} belongs to {first[port].full_name}; choose another one"


def shared_name_troubles(services: Iterable[ServiceDescriptor]) -> Iterator[Trouble]:
    """Yield each service with the short name of another one."""
    first: dict[str, ServiceDescriptor] = {}
    for service in _with_port(services):
        name = short_name_of(service)
        if first.setdefault(name, service) is not service:
            yield service, f"package: {name} belongs to {first[name].full_name}; choose another second part"


def http_call_troubles(services: Iterable[ServiceDescriptor]) -> Iterator[Trouble]:
    """Yield each of `http_calls` that is not a method of its service."""
    for service in services:
        own = {f"{service.full_name}/{method.name}" for method in service.methods}
        for call in http_calls_of(service):
            if call not in own:
                yield service, f"http_calls: {call} is not a method of this service"


def port_missing(subject: Subject) -> Iterator[Problem]:
    """Yield each service of a mesh without a valid `default_port`. A set without any port has no mesh."""
    services = list(subject.image.services())
    if any(map(default_port_of, services)):
        yield from _problems(subject, port_troubles(services), policy_pb2.DEFAULT_PORT_FIELD_NUMBER)


def port_taken(subject: Subject) -> Iterator[Problem]:
    """Yield each service with the port of another one."""
    troubles = shared_port_troubles(subject.image.services())
    return _problems(subject, troubles, policy_pb2.DEFAULT_PORT_FIELD_NUMBER)


def name_taken(subject: Subject) -> Iterator[Problem]:
    """Yield each service with the short name of another one."""
    return _problems(subject, shared_name_troubles(subject.image.services()))


def http_call_unknown(subject: Subject) -> Iterator[Problem]:
    """Yield each of `http_calls` that is not a method of its service."""
    troubles = http_call_troubles(subject.image.services())
    return _problems(subject, troubles, policy_pb2.HTTP_CALLS_FIELD_NUMBER)


def _with_port(services: Iterable[ServiceDescriptor]) -> Iterator[ServiceDescriptor]:
    return (service for service in services if 1 <= default_port_of(service) <= MAX_PORT)


def _problems(subject: Subject, troubles: Iterable[Trouble], *option: int) -> Iterator[Problem]:
    return (subject.problem(service, message, *option) for service, message in troubles)
