"""RPC methods: name, message types, streaming and policy, found by gRPC path."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from contracts.policy import ContractError, Policy, read_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
    from google.protobuf.message import Message

OUR_PACKAGE = "solo60."
# For services of gRPC itself, which have no policies. Their deadline is infinite, because a health watch never ends.
FOREIGN_POLICY = Policy(deadline_s=math.inf, scopes=frozenset({"mesh.inspect"}))


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC, as its descriptor declares it."""

    path: str
    service: str
    name: str
    request_type: type[Message]
    response_type: type[Message]
    request_streaming: bool
    response_streaming: bool
    policy: Policy

    @property
    def full_name(self) -> str:
        """Name in contracts: "solo60.gym.v1.GymService/GetGym"."""
        return self.path[1:]


def find_method(path: str) -> Method:
    """Return the method with this path ("/package.Service/Method").

    Raises ContractError if no imported contract has the method, or if it is ours and has no policy.
    """
    service_name, _, name = path.removeprefix("/").partition("/")
    try:
        service = descriptor_pool.Default().FindServiceByName(service_name)
        descriptor = service.methods_by_name[name]
    except KeyError:
        raise ContractError(f"no imported contract has a method {path}") from None
    return read_method(descriptor)


@cache
def read_method(descriptor: MethodDescriptor) -> Method:
    """Return the method of a descriptor; raise ContractError if it is a method of ours without a policy."""
    service: ServiceDescriptor = descriptor.containing_service
    ours = service.full_name.startswith(OUR_PACKAGE)
    return Method(
        path=f"/{service.full_name}/{descriptor.name}",
        service=service.full_name,
        name=descriptor.name,
        request_type=GetMessageClass(descriptor.input_type),
        response_type=GetMessageClass(descriptor.output_type),
        request_streaming=descriptor.client_streaming,
        response_streaming=descriptor.server_streaming,
        policy=read_policy(descriptor) if ours else FOREIGN_POLICY,
    )


def methods_of(service: ServiceDescriptor) -> Iterator[Method]:
    """Yield the methods of `service` in the contract's order."""
    return map(read_method, service.methods)


def service_of_stub(stub_type: Callable[..., object]) -> ServiceDescriptor:
    """Return the service of a generated stub class."""
    package = stub_type.__module__.rpartition(".")[0]
    return descriptor_pool.Default().FindServiceByName(f"{package}.{stub_type.__name__.removesuffix('Stub')}")
