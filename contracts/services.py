"""Registry of the services: all contracts under gen/solo60 that declare a `default_port`, by short name."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import solo60
from contracts.method import Method, methods_of
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

MAX_PORT = 65_535
MESH_PACKAGE = "solo60.mesh.v1"
# Services in these packages have no processes of their own. Every service serves those of the mesh, and tests serve the
# example.
PACKAGES_WITHOUT_PROCESS = frozenset({MESH_PACKAGE, "solo60.example.v1"})


def short_service_name(service: str) -> str:
    """Return the short name of a service: "gym" for "solo60.gym.v1.GymService"."""
    return service.split(".")[1]


def default_port_of(service: ServiceDescriptor) -> int:
    """Return the `default_port` that a service declares, or 0 if it declares none."""
    return int(service.GetOptions().Extensions[policy_pb2.default_port])


def http_calls_of(service: ServiceDescriptor) -> tuple[str, ...]:
    """Return the full names of the methods that the HTTP endpoint of a service calls."""
    return tuple(service.GetOptions().Extensions[policy_pb2.http_calls])


@cache
def our_files() -> tuple[FileDescriptor, ...]:
    """Return the descriptor of every contract under gen/solo60."""
    # A set, because the namespace package contains each contract twice if two checkouts are on Python's path.
    names = {
        ".".join(("solo60", *path.relative_to(root).with_suffix("").parts))
        for root in solo60.__path__
        for path in Path(root).rglob("*_pb2.py")
    }
    return tuple(importlib.import_module(name).DESCRIPTOR for name in sorted(names))


def our_services() -> list[ServiceDescriptor]:
    """Return every service in our contracts."""
    return [service for file in our_files() for service in file.services_by_name.values()]


def problems_of_services(services: Iterable[ServiceDescriptor]) -> Iterator[str]:
    """Yield one sentence for each service without a `default_port`, or with the port or the name of another service.

    Also yields one for each of `http_calls` that is not a method of its service.
    """
    known: dict[str | int, str] = {}
    for service in services:
        if service.file.package in PACKAGES_WITHOUT_PROCESS:
            continue
        port = default_port_of(service)
        if not 1 <= port <= MAX_PORT:
            yield f"{service.full_name}: default_port must be 1 to {MAX_PORT}."
            continue
        yield from _problems_of_http_calls(service)
        for option, value in (("default_port", port), ("package", short_service_name(service.full_name))):
            other = known.setdefault(value, service.full_name)
            if other != service.full_name:
                yield f"{service.full_name}: {option}: {value} belongs to {other}."


def _problems_of_http_calls(service: ServiceDescriptor) -> Iterator[str]:
    own_methods = {f"{service.full_name}/{method.name}" for method in service.methods}
    for call in http_calls_of(service):
        if call not in own_methods:
            yield f"{service.full_name}: http_calls: {call} is not a method of this service."


# In the order of their ports.
SERVICES: dict[str, ServiceDescriptor] = {
    short_service_name(service.full_name): service
    for service in sorted(our_services(), key=default_port_of)
    if default_port_of(service)
}
SERVICE_NAMES = tuple(SERVICES)
# Contracts of the mesh itself, which every service serves in addition to its own.
MESH_SERVICES = tuple(service for service in our_services() if service.file.package == MESH_PACKAGE)


def all_methods() -> dict[str, Method]:
    """Return every method of the services by full name ("package.Service/Method")."""
    return {method.full_name: method for service in SERVICES.values() for method in methods_of(service)}
