from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from contracts.services import (
    MESH_SERVICES,
    SERVICES,
    default_port_of,
    our_services,
    problems_of_services,
)
from solo60.mesh.v1 import policy_pb2

Declaration = tuple[str, str, int | None]
TRAINER: Declaration = ("solo60.trainer.v1", "TrainerService", 50060)


def problems_of(*declarations: Declaration) -> list[str]:
    """Return the problems of services that are declared by package, name and default port."""
    pool = descriptor_pool.DescriptorPool()
    for package, name, port in declarations:
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.{name}.proto", package=package, syntax="proto3")
        service = file.service.add(name=name)
        if port is not None:
            service.options.Extensions[policy_pb2.default_port] = port
        pool.Add(file)
    return list(problems_of_services(pool.FindServiceByName(f"{package}.{name}") for package, name, _ in declarations))


def test_the_registry_holds_each_service_with_a_port_in_the_order_of_ports() -> None:
    """The registry holds exactly the services that declare a default port, in the order of their ports."""
    with_port = [service for service in our_services() if default_port_of(service)]

    assert list(SERVICES.values()) == sorted(with_port, key=default_port_of)
    assert all(service.full_name.startswith(f"solo60.{name}.v1.") for name, service in SERVICES.items())
    assert not {"mesh", "example"} & SERVICES.keys()
    assert [service.full_name for service in MESH_SERVICES] == ["solo60.mesh.v1.OutboxService"]


@pytest.mark.parametrize("port", [None, 0, 65_536])
def test_a_service_without_a_port_is_reported(port: int | None) -> None:
    """The check reports a service without a default port, or with a port that does not exist."""
    assert problems_of(("solo60.trainer.v1", "TrainerService", port)) == [
        "solo60.trainer.v1.TrainerService: default_port must be 1 to 65535."
    ]


@pytest.mark.parametrize("package", ["solo60.mesh.v1", "solo60.example.v1"])
def test_a_service_without_processes_needs_no_port(package: str) -> None:
    """The check accepts services of the mesh and of the example without a default port."""
    assert problems_of((package, "OutboxService", None)) == []


def test_two_services_with_one_port_are_reported() -> None:
    """The check reports a service with the default port of another service, and names both."""
    assert problems_of(TRAINER, ("solo60.spa.v1", "SpaService", 50060)) == [
        "solo60.spa.v1.SpaService: default_port: 50060 belongs to solo60.trainer.v1.TrainerService; choose another one."
    ]


def test_two_services_with_one_name_are_reported() -> None:
    """The check reports a second service in the same package or another version of it, because names are unique."""
    [problem] = problems_of(TRAINER, ("solo60.trainer.v2", "TrainerService", 50061))

    assert problem.startswith(
        "solo60.trainer.v2.TrainerService: package: trainer belongs to solo60.trainer.v1.TrainerService; "
    )


def test_services_below_one_company_have_names_of_their_own() -> None:
    """The name of a service is the last part of its package before the version, however long the package is."""
    assert problems_of(("com.acme.trainer.v1", "TrainerService", 50060), ("com.acme.spa.v1", "SpaService", 50061)) == []


def test_http_calls_name_methods_of_the_service() -> None:
    """The check reports a name in `http_calls` that is not a method of the service."""
    file = descriptor_pb2.FileDescriptorProto(name="spa.proto", package="solo60.spa.v1", syntax="proto3")
    file.message_type.add(name="Message")
    service = file.service.add(name="SpaService")
    service.method.add(name="Book", input_type=".solo60.spa.v1.Message", output_type=".solo60.spa.v1.Message")
    service.options.Extensions[policy_pb2.default_port] = 50061
    service.options.Extensions[policy_pb2.http_calls].extend(["solo60.spa.v1.SpaService/Book", "Book"])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    assert list(problems_of_services([pool.FindServiceByName("solo60.spa.v1.SpaService")])) == [
        "solo60.spa.v1.SpaService: http_calls: Book is not a method of this service; name one of its methods."
    ]
