"""Options of services: their default port, the calls of their HTTP endpoint, and the scopes of callers outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

MAX_PORT = 65_535


def default_port_of(service: ServiceDescriptor) -> int:
    """Return the `default_port` that a service declares, or 0 if it declares none."""
    return int(service.GetOptions().Extensions[policy_pb2.default_port])


def http_calls_of(service: ServiceDescriptor) -> tuple[str, ...]:
    """Return the full names of the methods that the HTTP endpoint of a service calls."""
    return tuple(service.GetOptions().Extensions[policy_pb2.http_calls])


def external_scopes_of(service: ServiceDescriptor) -> tuple[str, ...]:
    """Return the scopes of a service for callers outside of the mesh."""
    return tuple(service.GetOptions().Extensions[policy_pb2.external_scopes])
