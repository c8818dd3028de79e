"""Registry of the services: all contracts under gen/solo60 that declare a `default_port`, by short name."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import solo60
from contracts.checks.services import MESH_PACKAGE, invalid_ports, shared_names, shared_ports, unknown_http_calls
from contracts.method import Method, methods_of
from contracts.names import package_of, short_package
from contracts.service_options import MAX_PORT as MAX_PORT
from contracts.service_options import default_port_of as default_port_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor


def short_service_name(service: str) -> str:
    """Return the short name of a service: "gym" for "solo60.gym.v1.GymService"."""
    return short_package(package_of(service))


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
    """Yield one sentence for each service without a valid `default_port`, or with the port or name of another one.

    Also yields one for each of `http_calls` that is not a method of its service.
    """
    services = list(services)
    for find in (invalid_ports, shared_ports, shared_names, unknown_http_calls):
        for service, problem, _ in find(services):
            yield f"{service.full_name}: {problem}."


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
